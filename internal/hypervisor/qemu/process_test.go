package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway"
)

func contextWithin(t *testing.T, within time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), within)
}

// sleeper is a process of ours.
func sleeper(t *testing.T, seconds string) *process {
	t.Helper()
	dir := t.TempDir()
	p, err := spawn(program{path: "sleep", args: []string{seconds}, dir: dir, log: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.kill(context.Background()); err != nil {
			t.Error(err)
		}
		p.release()
	})
	return p
}

func TestProcessEnds(t *testing.T) {
	t.Parallel()
	p := sleeper(t, "60")
	if p.ended() {
		t.Error("it has ended already")
	}
	adopted, err := adopt(p.id)
	if err != nil {
		t.Fatal(err)
	}
	defer adopted.release()
	ctx, cancel := contextWithin(t, 20*time.Millisecond)
	defer cancel()
	if adopted.wait(ctx) {
		t.Error("it has ended already")
	}
	if err := adopted.kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.wait(t.Context()) || !p.ended() {
		t.Error("its starter does not see the end")
	}
	if _, err := adopt(p.id); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a dead process is adopted: %v", err)
	}
}

const starterEnv = "DROVEWAY_QEMU_STARTER" // directory

// starter is a process that starts one that is bound to it and one that is not, tells
// their numbers, and waits to be killed.
func starter() {
	dir := os.Getenv(starterEnv)
	for _, bound := range []bool{true, false} {
		p, err := spawn(program{path: "sleep", args: []string{"300"}, dir: dir, log: filepath.Join(dir, "log"), bound: bound})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.id.PID)
	}
	select {}
}

// TestBoundEndsWithItsStarter kills a process with -9: what is bound to it ends, and
// guests, which another one adopts, run on.
func TestBoundEndsWithItsStarter(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), starterEnv+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var pids [2]int
	_, err = fmt.Fscan(out, &pids[0], &pids[1])
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, runs, err := identify(pids[0]); err != nil || !runs {
			break
		}
		if time.Now().After(end) {
			t.Error("what was bound runs on")
			break
		}
	}
	id, _, err := identify(pids[1])
	if err != nil {
		t.Fatalf("what was not bound has ended: %v", err)
	}
	p, err := adopt(id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	if err := p.kill(t.Context()); err != nil {
		t.Error(err)
	}
}

// A number that means another process by now is not taken for the guest.
func TestReusedNumberIsAnotherProcess(t *testing.T) {
	t.Parallel()
	id := sleeper(t, "60").id
	for name, other := range map[string]processID{
		"start": {PID: id.PID, Start: id.Start - 1, Boot: id.Boot}, "boot": {PID: id.PID, Start: id.Start, Boot: "another"},
	} {
		if _, err := adopt(other); !droveway.Is(err, droveway.NotFound) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestReleaseEndsTheWatch(t *testing.T) {
	t.Parallel()
	p := sleeper(t, "60")
	adopted, err := adopt(p.id)
	if err != nil {
		t.Fatal(err)
	}
	adopted.release()
	adopted.release() // goleak sees the watch if it goes on
}

func TestProgramIsNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := spawn(program{path: "no-such-program", dir: dir, log: filepath.Join(dir, "log")})
	if !droveway.Is(err, droveway.Unsupported) {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	line := []byte("42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1\n")
	state, start, err := parseStat(line)
	if err != nil || state != 'S' || start != 987654 {
		t.Errorf("%c, %d, %v", state, start, err)
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range [][]byte{own, nil, []byte(")"), []byte("1 (x) Z"), bytes.Repeat([]byte(") "), 30)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stat []byte) {
		state, _, err := parseStat(stat)
		if err == nil && state == 0 {
			t.Errorf("%q has no state", stat)
		}
	})
}

func TestParseMounts(t *testing.T) {
	t.Parallel()
	v1 := "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
	v2 := "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
	other := "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\nproc /proc proc rw 0 0\n\nx\n"
	for mounts, want := range map[string]hierarchy{
		other + v2 + v1: {version: 1, root: "/sys/fs/cgroup/cpu,cpuacct"},
		other + v2:      {version: 2, root: "/sys/fs/cgroup"},
		other:           {},
	} {
		if got := parseMounts([]byte(mounts)); got != want {
			t.Errorf("%q: %+v", mounts, got)
		}
	}
}

func FuzzParseHandle(f *testing.F) {
	for _, s := range []string{`{}`, `{"process":{"pid":1,"start":2,"boot":"x"},"spec":{"dir":"/d"}}`, `[`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h, err := parseHandle(raw); err == nil && (h.Process.PID <= 0 || h.Spec.Dir == "") {
			t.Errorf("%q is taken for a handle", raw)
		}
		if h, err := parseDaemon(raw); err == nil && h.Address == "" {
			t.Errorf("%q is taken for the handle of a secondary", raw)
		}
	})
}

func TestAccountReaches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	me := &account{name: "me", uid: os.Getuid(), gid: os.Getgid()}
	if err := me.reaches(filepath.Join(closed, "file")); err != nil {
		t.Error(err)
	}
	other := &account{name: "other", uid: os.Getuid() + 1, gid: os.Getgid() + 1}
	if err := other.reaches(filepath.Join(closed, "file")); !droveway.Is(err, droveway.Permission) {
		t.Errorf("another user passes: %v", err)
	}
	if a, err := lookup(""); a != nil || err != nil || a.credential() != nil || a.own("/none") != nil {
		t.Errorf("nobody in particular: %v, %v", a, err)
	}
}
