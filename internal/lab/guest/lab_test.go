//go:build lab

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/client"
	"github.com/droveway/droveway/internal/lab/observer"
	"github.com/droveway/droveway/internal/lab/tinyimage"
	"github.com/droveway/droveway/internal/lab/workload"
	"github.com/droveway/droveway/internal/network"
)

const mac = "52:54:00:00:00:01"

// machine is a tiny guest in QEMU's own network, 10.0.2.0/24.
type machine struct {
	t        *testing.T
	dir      string
	disk     string
	echo     string // host:port of its echo
	observer *observer.Observer
}

func newMachine(t *testing.T, c workload.Config) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), observer: observer.New(nil, slog.New(slog.DiscardHandler))}
	image, err := tinyimage.Build(t.Context(), tinyimage.Config{Cache: filepath.Join(m.dir, "cache"), SizeMiB: 64, Filled: true})
	if err != nil {
		t.Fatal(err)
	}
	m.disk = filepath.Join(m.dir, "disk.raw")
	if err := os.Rename(image, m.disk); err != nil {
		t.Fatal(err)
	}
	m.echo = freePort(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Observer = "10.0.2.2:" + port
	m.seed(c)
	background(t, func(ctx context.Context) error { return m.observer.Run(ctx, ln) })
	return m
}

// background runs f until the end of the test.
func background(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (m *machine) seed(c workload.Config) {
	m.t.Helper()
	user, err := c.UserData()
	if err != nil {
		m.t.Fatal(err)
	}
	var b bytes.Buffer
	err = network.Seed(&b, network.SeedConfig{Machine: "tiny-1", InstanceID: "i-1", UserData: user, NICs: []network.SeedNIC{{
		MAC: mac, Address: netip.MustParsePrefix("10.0.2.15/24"), Gateway: netip.MustParseAddr("10.0.2.2"),
	}}})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "seed.iso"), b.Bytes(), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) start() *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "262152k",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "file:"+m.console(),
		"-drive", "if=virtio,format=raw,file="+m.disk,
		"-drive", "if=virtio,format=raw,readonly=on,file="+filepath.Join(m.dir, "seed.iso"),
		"-netdev", "user,id=n0,hostfwd=tcp:"+m.echo+"-10.0.2.15:7", "-device", "virtio-net-pci,netdev=n0,mac="+mac,
		"-qmp", "unix:"+m.monitor()+",server=on,wait=off")
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func (m *machine) console() string { return filepath.Join(m.dir, "console.log") }

func (m *machine) monitor() string { return filepath.Join(m.dir, "qmp.sock") }

func (m *machine) await(what string, ok func(observer.Summary) bool) observer.Summary {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 60*time.Second)
	defer cancel()
	s, err := m.observer.Wait(ctx, ok)
	if err != nil {
		console, _ := os.ReadFile(m.console())
		m.t.Fatalf("%s: %v\nconsole:\n%s", what, err, console)
	}
	return s
}

func (m *machine) check(s observer.Summary) {
	m.t.Helper()
	r, err := check.Tiny(m.t.Context(), m.disk, droveway.Raw, s)
	if err != nil {
		m.t.Fatal(err)
	}
	if r.Lost != 0 || r.Newest < r.Acknowledged || s.Wrong() != 0 {
		m.t.Errorf("%s; disk: %+v: want nothing lost, nothing wrong", s, r)
	}
}

func TestGuestLosesNothingInAPowerCut(t *testing.T) {
	m := newMachine(t, workload.Config{DelayMS: 1, DirtyMiB: 8})
	began := time.Now()
	first := m.start()
	m.await("first report", func(s observer.Summary) bool { return len(s.Runs) > 0 })
	t.Logf("worked after %v", time.Since(began).Round(10*time.Millisecond))

	c := client.New(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", m.echo)
	})
	clientCtx, stopClient := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(clientCtx) }()
	start := time.Now()
	m.await("200 records", func(s observer.Summary) bool { return s.Acknowledged() >= 200 })
	seen := c.Between(start, time.Now())
	stopClient()
	<-done
	if seen.Answers == 0 || seen.Breaks != 0 {
		t.Errorf("client: %+v: want answers on one connection", seen)
	}

	first.Process.Kill()
	first.Wait()
	cut := m.observer.Summary()
	m.check(cut)

	second := m.start()
	s := m.await("a second run", func(s observer.Summary) bool { return len(s.Runs) == 2 && s.Acknowledged() > cut.Acknowledged()+50 })
	if len(s.Boots()) != 2 {
		t.Errorf("boots %v: want two", s.Boots())
	}
	m.press(second)
	m.check(m.observer.Summary())
}

// press presses the power button and waits for the guest to power off.
func (m *machine) press(qemu *exec.Cmd) {
	m.t.Helper()
	conn, err := net.Dial("unix", m.monitor())
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	go io.Copy(io.Discard, conn)
	for _, command := range []string{"qmp_capabilities", "system_powerdown"} {
		if err := json.NewEncoder(conn).Encode(map[string]string{"execute": command}); err != nil {
			m.t.Fatal(err)
		}
	}
	off := time.AfterFunc(20*time.Second, func() { qemu.Process.Kill() })
	defer off.Stop()
	if err := qemu.Wait(); err != nil {
		m.t.Errorf("the guest did not power off: %v", err)
	}
}

// A damaged disk must be seen: the proof is worth nothing otherwise.
func TestCheckSeesADamagedDisk(t *testing.T) {
	m := newMachine(t, workload.Config{})
	q := m.start()
	m.await("100 records", func(s observer.Summary) bool { return s.Acknowledged() >= 100 })
	q.Process.Kill()
	q.Wait()
	s := m.observer.Summary()
	m.check(s)
	f, err := os.OpenFile(m.disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// The last third, as if it had never been copied.
	size := info.Size()
	if _, err := f.WriteAt(make([]byte, size/3), size-size/3); err != nil {
		t.Fatal(err)
	}
	r, err := check.Tiny(t.Context(), m.disk, droveway.Raw, s)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost < 10 {
		t.Errorf("%+v: a third of the disk is gone: want about as much of the records lost", r)
	}
}
