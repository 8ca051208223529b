//go:build lab

package migrate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/tinyimage"
	"github.com/droveway/droveway/internal/lab/workload"
)

const (
	diskMiB    = 128
	hostMiB    = 16 << 10
	memoryMiB  = 128
	betweenMS  = 5
	bootTime   = 90 * time.Second
	jobTime    = 3 * time.Minute
	settleTime = 30 * time.Second
	someRecs   = 20
)

// stage is the scene that the tests of this package share, one after the other.
var stage *scene.Scene

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	if stage, err = open(ctx, dir); err != nil {
		fmt.Println("the lab does not come up:", err)
		return 1
	}
	defer func() {
		if err := stage.Close(ctx); err != nil {
			fmt.Println("the lab leaves something behind:", err)
		}
	}()
	return m.Run()
}

func open(ctx context.Context, dir string) (*scene.Scene, error) {
	if err := os.Chmod(dir, 0o711); err != nil { // guests run as another user
		return nil, err
	}
	binary, err := filepath.Abs("../../bin/droveway")
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	image, err := tinyimage.Build(ctx, tinyimage.Config{Cache: filepath.Join(cache, "droveway", "images"), SizeMiB: diskMiB, Filled: true, UEFI: true})
	if err != nil {
		return nil, err
	}
	return scene.Open(ctx, scene.Config{Dir: filepath.Join(dir, "l"), Binary: binary, Hosts: 2, Image: image, DiskMiB: hostMiB, Log: slog.New(slog.DiscardHandler)})
}

// guest starts a guest that works on the first host.
func guest(t *testing.T, c scene.GuestConfig) *scene.Guest {
	t.Helper()
	if c.MemoryMiB == 0 {
		c.MemoryMiB = memoryMiB
	}
	if c.Work.DelayMS == 0 {
		c.Work = workload.Config{DelayMS: betweenMS, DirtyMiB: c.Work.DirtyMiB}
	}
	c.Host = stage.Lab.Hosts()[0]
	g, err := stage.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, g) })
	works(t, g)
	return g
}

func remove(t *testing.T, g *scene.Guest) {
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	if t.Failed() {
		tellLogs(t)
	}
	j, err := stage.API.RemoveMachine(ctx, g.Name, "")
	if _, err := stage.Must(ctx, j, err); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for _, h := range stage.Lab.Hosts() {
		mustBeGone(t, h, g.Name)
	}
}

// tellLogs shows the ends of the roles' logs.
func tellLogs(t *testing.T) {
	for _, role := range append([]string{"server"}, stage.Lab.Hosts()...) {
		b, err := os.ReadFile(stage.Lab.LogFile(role))
		if err != nil {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
		t.Logf("log of %s:\n%s", role, bytes.Join(lines[max(0, len(lines)-25):], []byte("\n")))
	}
}

func works(t *testing.T, g *scene.Guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := g.Works(ctx, someRecs); err != nil {
		t.Fatal(err)
	}
}

// other is the host that is not h.
func other(h string) string {
	hosts := stage.Lab.Hosts()
	return hosts[1-slices.Index(hosts, h)]
}

func hostOf(t *testing.T, g *scene.Guest) string {
	t.Helper()
	h, err := g.Host(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// processes finds the processes of a program that a host runs for a machine.
func processes(program, host, machine string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		mine := strings.Contains(string(b), stage.Lab.Dir(host)+"/instances/"+machine+".")
		if mine && filepath.Base(args[0]) == program {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

const (
	qemu   = "qemu-system-x86_64"
	daemon = "qemu-storage-daemon"
)

func kill(t *testing.T, program, host, machine string) {
	t.Helper()
	for _, pid := range processes(program, host, machine) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Logf("kill %s %d: %v", program, pid, err)
		}
	}
}

// left is what a host still has of a machine.
func left(host, machine string) (found []string) {
	for _, p := range []string{qemu, daemon} {
		if pids := processes(p, host, machine); len(pids) > 0 {
			found = append(found, fmt.Sprintf("%s %v", p, pids))
		}
	}
	for _, pattern := range []string{"volumes/", "instances/", "firmware/"} {
		paths, _ := filepath.Glob(stage.Lab.Dir(host) + "/" + pattern + machine + ".*")
		found = append(found, paths...)
	}
	return found
}

func mustBeGone(t *testing.T, host, machine string) {
	t.Helper()
	if !eventually(func() bool { return len(left(host, machine)) == 0 }) {
		t.Errorf("host %s still has %v", host, left(host, machine))
	}
}

func eventually(ok func() bool) bool { return within(settleTime, ok) }

func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

func result(t *testing.T, j droveway.Job) (r client.MoveResult) {
	t.Helper()
	if err := json.Unmarshal(j.Result, &r); err != nil {
		t.Fatalf("result of job %s: %v: %s", j.Name, err, j.Result)
	}
	return r
}

// nothingLost holds the disk, in the end, against what was acknowledged.
func nothingLost(t *testing.T, g *scene.Guest) {
	t.Helper()
	r, err := g.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := g.Observer.Summary()
	if r.Lost > 0 || r.Acknowledged == 0 || s.Wrong() > 0 {
		t.Errorf("lost %d of %d acknowledged records; wrong %d; %s", r.Lost, r.Acknowledged, s.Wrong(), s)
	}
	t.Logf("%d records acknowledged, %d lost, boots %d", r.Acknowledged, r.Lost, len(s.Boots()))
}
