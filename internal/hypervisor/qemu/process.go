package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// processID tells one process from all others, also from a later one of the same
// number.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of proc_pid_stat(5)
	Boot  string `json:"boot"`  // the kernel's boot_id
}

// process is a process of ours, child or not. The descriptor keeps its number
// from meaning another one.
type process struct {
	id   processID
	fd   *os.File      // pidfd
	done chan struct{} // closed when it has ended, and is reaped if it is a child
	once sync.Once
}

// program is what to run and how.
type program struct {
	path  string
	args  []string
	dir   string // to run in
	log   string // file for its output
	files []*os.File
	user  *account
	bound bool // is killed by the kernel when this process ends
}

// spawn starts a program in a session of its own: it outlives this process, unless it is
// bound, and nothing that it holds was this one's.
func spawn(p program) (*process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "log of %s: %w", p.path, err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Env = p.dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, p.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: p.user.credential()}
	if p.bound {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	started, opened, done := make(chan error), make(chan struct{}), make(chan struct{})
	go hold(cmd, p.bound, started, opened, done)
	if err := <-started; err != nil {
		return nil, notStarted(p, err)
	}
	proc, err := open(cmd.Process.Pid)
	close(opened)
	if err != nil {
		_ = cmd.Process.Kill()
		<-done
		return nil, err
	}
	proc.done = done
	return proc, nil
}

// hold starts a command and, once it was opened, reaps it: until then even one that has
// ended is there by its number. The kernel sends the signal of a bound one when the
// thread ends that started it, so that thread is held until then.
func hold(cmd *exec.Cmd, bound bool, started chan<- error, opened <-chan struct{}, done chan<- struct{}) {
	if bound {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	err := cmd.Start()
	started <- err
	if err == nil {
		<-opened
		_ = cmd.Wait() // how it ended stands in its log
		close(done)
	}
}

func notStarted(p program, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return droveway.Missing(filepath.Base(p.path), "%s is not installed: %v", p.path, err)
	case errors.Is(err, os.ErrPermission):
		return droveway.Errorf(droveway.Permission, "run %s in %s as %s: %w", p.path, p.dir, p.user, err)
	}
	return droveway.Errorf(droveway.Internal, "run %s: %w", p.path, err)
}

// open takes hold of a process by number. The caller knows that the number is
// still the one it means.
func open(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, droveway.Errorf(droveway.NotFound, "process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("pidfd %d", pid))
	id, _, err := identify(pid)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &process{id: id, fd: f, done: make(chan struct{})}, nil
}

// adopt takes hold of a process that another one has started; NotFound if it
// runs no more.
func adopt(id processID) (*process, error) {
	p, err := open(id.PID)
	if err != nil {
		return nil, err
	}
	if p.id != id || p.ended() {
		p.release()
		return nil, droveway.Errorf(droveway.NotFound, "process %d runs no more", id.PID)
	}
	go p.watch()
	return p, nil
}

// watch closes done when the process ends: its pidfd can be read then.
func (p *process) watch() {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	ended := false
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n > 0
		return ended
	})
	if err == nil && ended {
		close(p.done)
	}
}

// release lets go of the process, which runs on.
func (p *process) release() { p.once.Do(func() { p.fd.Close() }) }

// ended reports whether the process runs no more.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
	}
	id, runs, err := identify(p.id.PID)
	return err != nil || !runs || id != p.id
}

// wait waits for the end; false: ctx ended first.
func (p *process) wait(ctx context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// kill ends the process and waits until it is gone. A process in the middle of a
// write to a disk that does not answer ends only after it, hence ctx.
func (p *process) kill(ctx context.Context) error {
	p.signal()
	if !p.wait(ctx) {
		return droveway.Errorf(droveway.Unavailable, "process %d does not end: %w", p.id.PID, context.Cause(ctx))
	}
	return nil
}

func (p *process) signal() {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
}

// identify reads who a process is, and whether it runs: a zombie does not.
// NotFound if there is none.
func identify(pid int) (id processID, runs bool, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return id, false, droveway.Errorf(droveway.NotFound, "process %d: %w", pid, err)
	}
	state, start, err := parseStat(stat)
	if err != nil {
		return id, false, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id, false, droveway.Errorf(droveway.Internal, "boot id: %w", err)
	}
	id = processID{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}
	return id, state != 'Z' && state != 'X', nil
}

// parseStat reads the state and the start time of proc_pid_stat(5). The name of
// the program, in brackets, may hold anything.
func parseStat(stat []byte) (state byte, start uint64, err error) {
	const fieldStart = 22 - 3 // counted from the state, which is field 3
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) <= fieldStart || len(fields[0]) != 1 {
		return 0, 0, droveway.Errorf(droveway.Internal, "process status %q has another shape than expected", stat)
	}
	start, err = strconv.ParseUint(string(fields[fieldStart]), 10, 64)
	if err != nil {
		return 0, 0, droveway.Errorf(droveway.Internal, "process status %q: %w", stat, err)
	}
	return fields[0][0], start, nil
}

// killStrays ends processes that run in dir with the monitor socket of that
// name. One of them is left if the caller of a Start is killed before it has
// written down whom it started.
func killStrays(ctx context.Context, dir, socket string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil // no directory, no process
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var failed []error
	for _, link := range all {
		if cwd, err := os.Readlink(link); err != nil || cwd != real {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		if err != nil || !bytes.Contains(cmdline, []byte(socket)) {
			continue
		}
		failed = append(failed, endStray(ctx, link))
	}
	return errors.Join(failed...)
}

func endStray(ctx context.Context, link string) error {
	pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
	if err != nil {
		return err
	}
	id, _, err := identify(pid)
	if err != nil {
		return nil // it has ended meanwhile
	}
	p, err := adopt(id)
	if err != nil {
		return nil
	}
	defer p.release()
	ctx, cancel := context.WithTimeout(ctx, killWithin)
	defer cancel()
	return p.kill(ctx)
}

// killWithin bounds the wait for a killed process.
const killWithin = 10 * time.Second
