package volume

import (
	"bytes"
	"context"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
)

// limits bounds a child. The kernel enforces memory and CPU time, we the time.
type limits struct {
	memory int64         // bytes of address space
	cpu    time.Duration // CPU time; 0: no limit
	time   time.Duration // by the clock, for run
}

// cpuSeconds is the bound as prlimit(1) takes it.
func (l limits) cpuSeconds() string {
	if l.cpu == 0 {
		return "unlimited"
	}
	return strconv.FormatInt(int64(l.cpu/time.Second), 10)
}

const (
	stdoutMax = 1 << 20
	stderrMax = 4 << 10
)

// child is a running tool. It dies with us, however we die.
type child struct {
	cmd    *exec.Cmd
	stdout head
	stderr head
	done   chan struct{} // closed when it is reaped
	err    error         // how it ended; read after done
}

// start starts a tool under limits.
func start(l limits, tool string, args ...string) (*child, error) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return nil, droveway.Missing(tool, "%s is not installed: install the package qemu-utils", tool)
	}
	c := &child{stdout: head{max: stdoutMax}, stderr: head{max: stderrMax}, done: make(chan struct{})}
	// prlimit(1) sets the bounds before the tool runs its first instruction.
	c.cmd = exec.Command("prlimit", append([]string{
		"--as=" + strconv.FormatInt(l.memory, 10),
		"--cpu=" + l.cpuSeconds(),
		"--core=0", "--", path,
	}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cmd.Env = []string{"LC_ALL=C"}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go c.live(started)
	if err := <-started; err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "start %s: %w", tool, err)
	}
	return c, nil
}

// live starts and reaps the child. The kernel sends the parent-death signal when
// the thread that started the child ends, so that thread is held until then.
func (c *child) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.err = c.cmd.Wait()
		close(c.done)
	}
}

// kill kills the child and waits until it is reaped.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended by itself
	<-c.done
}

// result is how a tool ended.
type result struct {
	out    []byte
	status int    // exit status, -1 if a signal ended it
	said   string // what it wrote to its error output, or the signal
}

// run runs a tool to its end, whatever that is. The error says that it could
// not start or was stopped by the time limit or the context: Unavailable, or
// Unsupported if it is not installed.
func run(ctx context.Context, l limits, tool string, args ...string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.time)
	defer cancel()
	c, err := start(l, tool, args...)
	if err != nil {
		return result{}, err
	}
	select {
	case <-c.done:
		return c.result(), nil
	case <-ctx.Done():
		c.kill()
		return result{}, droveway.Errorf(droveway.Unavailable, "%s %s was stopped: %w", tool, args[0], context.Cause(ctx))
	}
}

// mustRun is run for a tool that has nothing to fail on but the host.
func mustRun(ctx context.Context, l limits, tool string, args ...string) ([]byte, error) {
	r, err := run(ctx, l, tool, args...)
	if err == nil && r.status != 0 {
		err = droveway.Errorf(droveway.Unavailable, "%s %s failed: %s", tool, args[0], r.said)
	}
	return r.out, err
}

// result describes the end of a child that is done.
func (c *child) result() result {
	r := result{out: c.stdout.kept.Bytes(), said: strings.TrimSpace(c.stderr.kept.String())}
	if c.err != nil {
		r.status = c.cmd.ProcessState.ExitCode()
	}
	if r.said == "" && c.err != nil {
		r.said = c.err.Error()
	}
	return r
}

// head keeps the first max bytes written to it and takes the rest for granted.
// The buffer is no embedded field: its ReadFrom would keep everything.
type head struct {
	kept bytes.Buffer
	max  int
}

func (h *head) Write(p []byte) (int, error) {
	h.kept.Write(p[:min(len(p), h.max-h.kept.Len())])
	return len(p), nil
}
