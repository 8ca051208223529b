//go:build lab

package migrate_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/scene"
)

// Each flush of the guest reaches the source's disk while the target's follows:
// so it outlives a loss of power there. The target's copy is flushed once, before
// it leaves its origin.
func TestFlushesDuringHydration(t *testing.T) {
	for _, reads := range []string{"source", "local"} {
		t.Run(reads, func(t *testing.T) { flushWhileItHydrates(t, reads) })
	}
}

func flushWhileItHydrates(t *testing.T, reads string) {
	const flushes = 60
	g := guest(t, scene.GuestConfig{Name: "flush-" + reads, More: more})
	do(t, g, hand.Fill, 0, 8)
	j, from, to := hydratingBy(t, g, client.MoveRequest{SyncRate: 6 * mib, Reads: reads})
	source := trace(t, one(t, daemon, from, g))
	target := trace(t, one(t, qemu, to, g))
	for _, d := range g.Disks[1:] {
		_, err := g.Do(t.Context(), hand.Order{Do: hand.Sync, Disk: d.Name, Count: flushes})
		check(t, err)
	}
	stillHydrating(t, j)
	seen, local := source.end(), target.end()
	for _, d := range g.Disks[1:] {
		n := count(seen, file(g, from, d))
		if n < flushes {
			t.Errorf("disk %s: the guest flushed %d times, its disk on the source %d times", d.Name, flushes, n)
		}
		t.Logf("disk %s: of %d flushes %d reached the source's file, %d the target's", d.Name, flushes, n, count(local, file(g, to, d)))
	}
	agent := trace(t, stage.Lab.Host(to))
	atRate(t, g, 0)
	reached(t, j, "release")
	seen = agent.end()
	succeeds(t, j)
	for _, d := range g.Disks {
		if n := count(seen, file(g, to, d)); n < 1 {
			t.Errorf("disk %s left its origin before it was flushed", d.Name)
		}
	}
	nothingLost(t, g)
}

// one is the one process of a program that a host runs for a guest.
func one(t *testing.T, program, host string, g *scene.Guest) int {
	t.Helper()
	all := processes(program, host, g.Name)
	if len(all) != 1 {
		t.Fatalf("host %s runs %d of %s for machine %s, want one", host, len(all), program, g.Name)
	}
	return all[0]
}

// tracer is strace, which notes each flush of a process with the file's path.
type tracer struct {
	t    *testing.T
	cmd  *exec.Cmd
	file string
}

func trace(t *testing.T, pid int) *tracer {
	t.Helper()
	tr := &tracer{t: t, file: filepath.Join(t.TempDir(), "trace")}
	tr.cmd = exec.Command("strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", tr.file, "-p", strconv.Itoa(pid))
	said, err := tr.cmd.StderrPipe()
	check(t, err)
	check(t, tr.cmd.Start())
	t.Cleanup(func() { _ = tr.cmd.Process.Kill() })
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "attached") {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return tr
		}
	}
	t.Fatalf("strace of process %d: %s (%v)", pid, lines.Text(), lines.Err())
	return nil
}

// end ends the trace and gives what it noted.
func (tr *tracer) end() string {
	tr.t.Helper()
	check(tr.t, tr.cmd.Process.Signal(syscall.SIGINT))
	_ = tr.cmd.Wait() // it ends as the signal has it
	b, err := os.ReadFile(tr.file)
	check(tr.t, err)
	return string(b)
}

// count is how many flushes of a file a trace has.
func count(trace, path string) int { return strings.Count(trace, "<"+path+">") }
