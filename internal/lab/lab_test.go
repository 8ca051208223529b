//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/vishvananda/netlink"
)

func config(t *testing.T, hosts int) Config {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Dir: filepath.Join(t.TempDir(), "lab"), Hosts: hosts, Binary: binary, Log: slog.New(slog.DiscardHandler)}
}

func up(t *testing.T, c Config) *Lab {
	t.Helper()
	t.Cleanup(func() { down(t, c.Dir) })
	l, err := Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// down takes a lab down and looks from outside for what is left of it.
func down(t *testing.T, dir string) {
	t.Helper()
	takeDown(t, dir)
	mustBeGone(t, dir)
}

func takeDown(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := Down(ctx, dir); err != nil && !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
}

func mustBeGone(t *testing.T, dir string) {
	t.Helper()
	for what, left := range remains(t, dir) {
		if len(left) > 0 {
			t.Errorf("%s left after the lab: %v", what, left)
		}
	}
}

func remains(t *testing.T, dir string) map[string][]string {
	t.Helper()
	left := map[string][]string{}
	id := labID(dir)
	left["namespaces"], _ = filepath.Glob("/run/netns/dwl-" + id + "*")
	left["groups"], _ = filepath.Glob(cgroupRoot + "/*/droveway")
	left["files"], _ = filepath.Glob(dir)
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || bytes.Contains(mounts, []byte(dir)) {
		left["mounts"] = append(left["mounts"], fmt.Sprintf("%s (%v)", mounts, err))
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "dwl-"+id) {
			left["links"] = append(left["links"], l.Attrs().Name)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, e := range all {
		target, err := os.Readlink(e)
		if err == nil && target == exe && e != fmt.Sprintf("/proc/%d/exe", os.Getpid()) {
			left["processes"] = append(left["processes"], e)
		}
	}
	return left
}

func TestUpRunsTheRolesAndDownLeavesNothing(t *testing.T) {
	c := config(t, 2)
	c.Uplink = true
	l := up(t, c)
	if got := l.Hosts(); !slices.Equal(got, []string{"host-a", "host-b"}) {
		t.Errorf("hosts %v", got)
	}
	if l.Server() == 0 || l.Host("host-a") == 0 || l.Host("host-b") == 0 {
		t.Errorf("processes %d, %d, %d: want all running", l.Server(), l.Host("host-a"), l.Host("host-b"))
	}
	if info, err := os.Stat(l.ContextFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("context file: %v %v: want mode 0600", info, err)
	}
	for _, role := range []string{"server", "host-a"} {
		checkProcess(t, l, role)
	}
	conn, err := net.DialTimeout("tcp", "10.99.0.1:7443", 2*time.Second)
	if err != nil {
		t.Errorf("the server through the uplink: %v", err)
	} else {
		conn.Close()
	}
	again, err := Up(t.Context(), c)
	if !droveway.Is(err, droveway.Exists) {
		t.Errorf("second lab in the same directory: %v, %v", again, err)
	}
	other := config(t, 1)
	other.Uplink = true
	if _, err := Up(t.Context(), other); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("second lab with the uplink: %v: want a conflict", err)
	}
}

// checkProcess looks at a role's process: nobody's session, nobody's descriptors.
func checkProcess(t *testing.T, l *Lab, role string) {
	t.Helper()
	pid := l.pid(role)
	if sid, err := syscall.Getpgid(pid); err != nil || sid != pid {
		t.Errorf("%s is in group %d (%v): want its own", role, sid, err)
	}
	for fd, want := range map[int]string{0: "/dev/null", 1: l.LogFile(role), 2: l.LogFile(role)} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || got != want {
			t.Errorf("%s has %s as descriptor %d (%v): want %s", role, got, fd, err, want)
		}
	}
}

func TestKilledRolesStartAgain(t *testing.T) {
	c := config(t, 1)
	up(t, c)
	// As the command line would, from another process.
	l, err := Load(c.Dir, c.Log)
	if err != nil {
		t.Fatal(err)
	}
	server, host := l.Server(), l.Host("host-a")
	if err := l.StartServer(t.Context()); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("start of a running server: %v: want a conflict", err)
	}
	for range 2 {
		if err := l.KillServer(); err != nil {
			t.Fatal(err)
		}
		if err := l.KillHost("host-a"); err != nil {
			t.Fatal(err)
		}
	}
	if l.Server() != 0 || l.Host("host-a") != 0 {
		t.Error("killed, but still there")
	}
	if err := l.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.StartHost(t.Context(), "host-a"); err != nil {
		t.Fatal(err)
	}
	if l.Server() == server || l.Host("host-a") == host || l.Server() == 0 || l.Host("host-a") == 0 {
		t.Error("not started again as new processes")
	}
	if err := l.KillHost("host-z"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("kill of a host that is not there: %v", err)
	}
}

func TestFailedUpLeavesNothingAndSaysWhy(t *testing.T) {
	c := config(t, 1)
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	c.Binary = filepath.Join(filepath.Dir(c.Dir), "droveway")
	script := "#!/bin/sh\necho the server is broken\nexit 3\n"
	if err := os.WriteFile(c.Binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Up(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "the server is broken") {
		t.Errorf("error %v: want the end of the server's log in it", err)
	}
	down(t, c.Dir)
}

// A lab that is killed while it comes up must be removable by its directory
// alone, from wherever it stopped.
func TestDownAfterAKillAnywhereInUp(t *testing.T) {
	stages := []func(l *Lab) error{
		func(*Lab) error { return nil },
		func(l *Lab) error { return addNamespace(l.plan.namespace(fabricName)) },
		func(l *Lab) error { // the name is there, what it names is not
			return os.WriteFile(namespacePath(l.plan.namespace("server")), nil, 0o444)
		},
		func(l *Lab) error { return l.plan.build() },
		func(l *Lab) error {
			if err := l.plan.build(); err != nil {
				return err
			}
			_, err := l.plan.start(serverName, nil, "server", "--data", l.Dir("server"), "--listen", "10.99.0.1:7443")
			return err
		},
		func(l *Lab) error { return l.up(t.Context()) },
	}
	for i, stage := range stages {
		c := config(t, 1)
		c.Uplink = true
		p, err := newPlan(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := claim(p); err != nil {
			t.Fatal(err)
		}
		if err := stage(&Lab{plan: p, log: c.Log}); err != nil {
			t.Errorf("stage %d: %v", i, err)
		}
		down(t, c.Dir)
		down(t, c.Dir)
	}
}

// removeUnused removes the groups that a stand-in was killed over before it could
// put its guest into them: no process leads to them.
func removeUnused(t *testing.T) {
	t.Helper()
	groups, _ := filepath.Glob(cgroupRoot + "/pids/droveway/*/cgroup.procs")
	for _, path := range groups {
		if b, err := os.ReadFile(path); err == nil && len(b) == 0 {
			os.Remove(filepath.Dir(path)) // what fails is seen as left
		}
	}
	os.Remove(cgroupRoot + "/pids/droveway")
}

// The same with a real kill, which may come between any two system calls. Nobody
// who waits for the killed process's output waits for the lab's processes.
func TestDownAfterARealKill(t *testing.T) {
	for _, after := range []time.Duration{0, 5, 10, 20, 40, 80, 160, 320} {
		dir := config(t, 1).Dir
		cmd := exec.Command(os.Args[0], "up", "--data", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond)
		cmd.Process.Kill()
		closed := make(chan struct{})
		go func() {
			io.Copy(io.Discard, out)
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Errorf("killed after %d ms: somebody still holds its standard output", after)
		}
		cmd.Wait()
		takeDown(t, dir)
		removeUnused(t)
		mustBeGone(t, dir)
	}
}

func TestDownKeepsWhatNoLabMade(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "server")
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Down(t.Context(), dir); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("where no lab is: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("a file of somebody else is gone: %v", err)
	}
	c := config(t, 1)
	c.Dir = dir
	if _, err := Up(t.Context(), c); !droveway.Is(err, droveway.Exists) {
		t.Errorf("lab in a directory with files: %v", err)
	}
}

func TestCutLinkSeparatesAHost(t *testing.T) {
	l := up(t, config(t, 2))
	ln, err := l.Listen(t.Context(), l.HostNS("host-b"), "tcp", "10.99.0.12:9")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	reach := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		conn, err := l.Dial(ctx, l.HostNS("host-a"), "tcp", "10.99.0.12:9")
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := reach(time.Second); err != nil {
		t.Fatalf("before the cut: %v", err)
	}
	if err := l.CutLink("host-a"); err != nil {
		t.Fatal(err)
	}
	if reach(300*time.Millisecond) == nil {
		t.Error("a host was reached over a link that is cut")
	}
	if err := l.MendLink("host-a"); err != nil {
		t.Fatal(err)
	}
	// The kernel may take a second to use a link that came back.
	if err := reach(5 * time.Second); err != nil {
		t.Errorf("after the link was mended: %v", err)
	}
}

func TestLinkRateBoundsAHost(t *testing.T) {
	c := config(t, 2)
	c.LinkRate = 80_000_000 // 10 MB/s
	l := up(t, c)
	ln, err := l.Listen(t.Context(), l.HostNS("host-b"), "tcp", "10.99.0.12:9")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := l.Dial(t.Context(), l.HostNS("host-a"), "tcp", "10.99.0.12:9")
		if err != nil {
			return
		}
		defer conn.Close()
		io.CopyN(conn, zeros{}, 8_000_000)
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	n, err := io.Copy(io.Discard, conn)
	if took := time.Since(start); err != nil || n != 8_000_000 || took < 600*time.Millisecond || took > 2*time.Second {
		t.Errorf("8 MB over a link of 10 MB/s: %d bytes in %v (%v)", n, took, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestJoinNetworkPutsTheClientAmongTheMachines(t *testing.T) {
	l := up(t, config(t, 1))
	n := droveway.Network{Meta: droveway.Meta{Name: "blue"}, Subnet: netip.MustParsePrefix("10.20.0.0/16"), VNI: 7}
	for range 2 {
		if err := l.JoinNetwork(t.Context(), n, netip.MustParsePrefix("10.20.255.1/16")); err != nil {
			t.Fatal(err)
		}
	}
	out, err := l.Command(t.Context(), l.ClientNS(), "ip", "-br", "address", "show", "dw-7").Output()
	if err != nil || !strings.Contains(string(out), "10.20.255.1/16") {
		t.Errorf("the client's bridge: %q, %v", out, err)
	}
}

func TestRefusals(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"no hosts":       func(c *Config) { c.Hosts = 0 },
		"too many hosts": func(c *Config) { c.Hosts = 27 },
		"negative rate":  func(c *Config) { c.LinkRate = -1 },
		"no binary":      func(c *Config) { c.Binary = "/nowhere/droveway" },
	} {
		c := config(t, 1)
		change(&c)
		if _, err := Up(t.Context(), c); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v: want a refusal of kind invalid", what, err)
		}
		down(t, c.Dir)
	}
	if _, err := Load(t.TempDir(), nil); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("load of no lab: %v", err)
	}
}
