//go:build lab

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

const labDisk = 12 << 20

// labSpec describes a machine with one disk that has the suite's guest.
func labSpec(t *testing.T) hypervisor.Spec {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "disk")
	createRaw(t, path, content())
	return hypervisor.Spec{
		Machine: "m", Dir: dir, CPUs: 1, MemoryMiB: 32,
		Disks: []hypervisor.Disk{{Name: "root", Path: path, Format: droveway.Raw, Size: labDisk}},
	}
}

// content is a disk with the suite's guest.
func content() []byte {
	b := make([]byte, labDisk)
	copy(b, guest(1))
	for n := 1 << 20; n < labDisk; n++ {
		b[n] = byte(n>>8) | 1
	}
	return b
}

// labStart starts an instance that the test ends.
func labStart(t *testing.T, d *Driver, s hypervisor.Spec) *Instance {
	t.Helper()
	i, err := d.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = i.Close()
		if left, err := New(Config{}).Attach(context.Background(), i.Handle()); err == nil {
			_ = syscall.Kill(left.PID(), syscall.SIGKILL)
			_ = left.Stop(context.Background(), 0)
			_ = left.Close()
		}
	})
	return i.(*Instance)
}

func soon(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// counted is how many lines the guest has printed.
func counted(t *testing.T, i *Instance) int {
	t.Helper()
	return strings.Count(string(contentRaw(t, i.Console())), "\n0000")
}

// A process that nobody knows of, because its starter was killed at once, is
// ended by the next start.
func TestStrayIsEnded(t *testing.T) {
	t.Parallel()
	d, s := New(Config{Accel: tcg}), labSpec(t)
	stray := labStart(t, d, s)
	if err := os.Remove(filepath.Join(s.Dir, handleName)); err != nil {
		t.Fatal(err)
	}
	i := labStart(t, d, s) // the disk is free only if the stray was ended
	if i.PID() == stray.PID() {
		t.Error("the stray was not ended")
	}
	soon(t, "the stray is gone", func() bool { return stray.proc.ended() })
}

func TestUseOfCPUsIsLimited(t *testing.T) {
	t.Parallel()
	d, s := New(Config{Accel: tcg}), labSpec(t)
	s.Limits.CPUPercent = 30
	i := labStart(t, d, s)
	if d.found.groups.version == 0 {
		if i.h.Group != "" || d.found.found["cgroup"] == "" {
			t.Errorf("no groups here, yet the instance has %q", i.h.Group)
		}
		return
	}
	procs := contentRaw(t, filepath.Join(i.h.Group, "cgroup.procs"))
	if got := strings.Fields(string(procs)); len(got) != 1 || got[0] != strconv.Itoa(i.PID()) {
		t.Errorf("the group holds %q, not process %d", got, i.PID())
	}
	quota := map[int]string{1: "cpu.cfs_quota_us", 2: "cpu.max"}[d.found.groups.version]
	if got := contentRaw(t, filepath.Join(i.h.Group, quota)); !strings.HasPrefix(string(got), "30000") {
		t.Errorf("the quota is %q", got)
	}
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(i.h.Group); !os.IsNotExist(err) {
		t.Errorf("the group is left: %v", err)
	}
	i = labStart(t, d, s)
	if err := syscall.Kill(i.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	soon(t, "the group of a killed instance is removed", func() bool {
		_, err := os.Stat(i.h.Group)
		return os.IsNotExist(err)
	})
}

func TestInstanceIsNoChildOfThisSession(t *testing.T) {
	t.Parallel()
	i := labStart(t, New(Config{Accel: tcg, User: "nobody"}), labSpec(t))
	if sid, err := unix.Getsid(i.PID()); err != nil || sid != i.PID() {
		t.Errorf("its session is %d, %v", sid, err)
	}
	status := string(contentRaw(t, "/proc/"+strconv.Itoa(i.PID())+"/status"))
	user, err := lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(user.uid)
	if !strings.Contains(status, "\nUid:\t"+strings.Join([]string{id, id, id, id}, "\t")+"\n") {
		t.Errorf("it does not run as nobody: %s", status)
	}
	for n := range 3 {
		out, err := os.Readlink("/proc/" + strconv.Itoa(i.PID()) + "/fd/" + strconv.Itoa(n))
		if err != nil || n == 0 && out != os.DevNull || n > 0 && out != i.h.file(logName) {
			t.Errorf("descriptor %d is %s, %v", n, out, err)
		}
	}
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(i.PID())); !os.IsNotExist(err) {
		t.Errorf("a zombie is left: %v", err)
	}
}

// The name of a tap device lives as long as somebody has it open.
func TestCardIsInherited(t *testing.T) {
	t.Parallel()
	const name = "dwlabtap0"
	tap := openTAP(t, name)
	s := labSpec(t)
	s.NICs = []hypervisor.NIC{{ID: "net0", MAC: "52:54:00:12:34:56", TAP: tap}}
	i := labStart(t, New(Config{Accel: tcg, User: "nobody"}), s)
	if err := tap.Close(); err != nil {
		t.Fatal(err)
	}
	var filters []struct {
		Name string
		Mac  string `json:"main-mac"`
	}
	if err := i.execute(t.Context(), "query-rx-filter", nil, &filters); err != nil || len(filters) != 1 || filters[0].Mac != s.NICs[0].MAC {
		t.Errorf("the cards are %+v, %v", filters, err)
	}
	if _, err := os.Stat("/sys/class/net/" + name); err != nil {
		t.Errorf("the instance does not have the tap device: %v", err)
	}
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	soon(t, "the tap device is gone", func() bool {
		_, err := os.Stat("/sys/class/net/" + name)
		return os.IsNotExist(err)
	})
}

func openTAP(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(ifr))); errno != 0 {
		t.Fatal(errno)
	}
	return os.NewFile(uintptr(fd), name)
}

// A hypervisor that does not answer holds nobody longer than they want.
func TestHungMonitorObeysTheContext(t *testing.T) {
	t.Parallel()
	i := labStart(t, New(Config{Accel: tcg}), labSpec(t))
	if err := syscall.Kill(i.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	ctx, cancel := contextWithin(t, 200*time.Millisecond)
	defer cancel()
	if _, err := i.State(ctx); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("a hung hypervisor: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Errorf("a hung hypervisor cannot be killed: %v", err)
	}
}

// The monitor serves one client: an agent that hangs must not make another one
// hang. That one finds the guest and hears that it does not answer.
func TestBusyMonitorIsUnavailable(t *testing.T) {
	t.Parallel()
	d := New(Config{Accel: tcg})
	i := labStart(t, d, labSpec(t))
	again, err := d.Attach(t.Context(), i.Handle())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithin(t, 200*time.Millisecond)
	defer cancel()
	if _, err := again.State(ctx); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("a second client: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.State(t.Context()); err != nil {
		t.Errorf("once the first is gone: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A connection that breaks is made anew.
func TestLostMonitorIsConnectedAgain(t *testing.T) {
	t.Parallel()
	i := labStart(t, New(Config{Accel: tcg}), labSpec(t))
	changed := i.Changed()
	if err := i.client.Close(); err != nil {
		t.Fatal(err)
	}
	<-changed
	if s, err := i.State(t.Context()); err != nil || s != hypervisor.Running {
		t.Errorf("%s, %v", s, err)
	}
}

// hydrating boots a machine over an origin, with its local disk at path.
func hydrating(t *testing.T, path string, rate int64) *Instance {
	t.Helper()
	d, s := New(Config{Accel: tcg}), labSpec(t)
	sec := serving(t, d)
	createRaw(t, path, nil)
	if err := os.Truncate(path, labDisk); err != nil {
		t.Fatal(err)
	}
	s.Standing, s.Disks[0].Path = true, path
	i := labStart(t, d, s)
	err := i.TakeOver(t.Context(), []hypervisor.Origin{{Disk: "root", Address: sec.Address(), Export: "root", Rate: rate}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// serving serves a disk with the guest.
func serving(t *testing.T, d *Driver) hypervisor.Secondary {
	t.Helper()
	at := labSpec(t)
	sec, err := d.Secondary(t.Context(), hypervisor.SecondarySpec{Machine: "m", Dir: at.Dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sec.Stop(context.Background())
		_ = sec.Close()
	})
	if err := sec.Export(t.Context(), at.Disks); err != nil {
		t.Fatal(err)
	}
	return sec
}

// A local disk without room holds the copy up, not the guest.
func TestLocalDiskIsFull(t *testing.T) {
	t.Parallel()
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		soon(t, "nobody uses the disk any more", func() bool { return unix.Unmount(small, 0) == nil })
	})
	i := hydrating(t, filepath.Join(small, "disk"), 0)
	soon(t, "the copy is held up", func() bool {
		h, err := i.Hydration(t.Context())
		return err == nil && h.Paused && h.Error != "" && !h.Ready
	})
	before := counted(t, i)
	soon(t, "the guest goes on without", func() bool { return counted(t, i) > before+2 })
	if err := unix.Mount("tmpfs", small, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	soon(t, "the disk is whole", func() bool {
		if err := i.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		h, err := i.Hydration(t.Context())
		return err == nil && h.Ready && !h.Paused
	})
}

// A mirror that has ended by an error is told of, and Resume begins another one.
func TestEndedMirrorBeginsAnew(t *testing.T) {
	t.Parallel()
	i := hydrating(t, filepath.Join(t.TempDir(), "disk"), 64<<10)
	if err := i.execute(t.Context(), "block-job-cancel", object{"device": syncJob(0), "force": true}, nil); err != nil {
		t.Fatal(err)
	}
	soon(t, "the end is told of", func() bool {
		h, err := i.Hydration(t.Context())
		return err == nil && h.Paused && !h.Ready && !h.Settled
	})
	if err := i.Settle(t.Context(), nil); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a disk without a mirror is settled: %v", err)
	}
	if err := i.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, "the disk is whole", func() bool {
		h, err := i.Hydration(t.Context())
		return err == nil && h.Ready
	})
}

// What QEMU was told to do by a caller that died the next one finds done.
func TestHalfATakeOver(t *testing.T) {
	t.Parallel()
	for name, half := range map[string]func(i *Instance, o hypervisor.Origin) error{
		"origin":  func(i *Instance, o hypervisor.Origin) error { return i.addOrigin(o) },
		"drive":   func(i *Instance, o hypervisor.Origin) error { return i.useOrigin(i.end, 0, o, "") },
		"running": func(i *Instance, o hypervisor.Origin) error { return i.useAndRun(o) },
		"mirror": func(i *Instance, o hypervisor.Origin) error {
			return errors.Join(i.useAndRun(o), i.copies(i.end, []hypervisor.Origin{o}))
		},
		"mirror first": func(i *Instance, o hypervisor.Origin) error {
			return errors.Join(i.useOrigin(i.end, 0, o, ""), i.copies(i.end, []hypervisor.Origin{o}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, s := New(Config{Accel: tcg}), labSpec(t)
			sec := serving(t, d)
			s.Standing = true
			i := labStart(t, d, s)
			o := hypervisor.Origin{Disk: "root", Address: sec.Address(), Export: "root"}
			if err := half(i, o); err != nil {
				t.Fatal(err)
			}
			if err := i.TakeOver(t.Context(), []hypervisor.Origin{o}); err != nil {
				t.Fatal(err)
			}
			soon(t, "the guest runs", func() bool { return counted(t, i) > 1 })
			nodes, err := i.nodes(t.Context())
			if err != nil || strings.Contains(strings.Join(nodes, " "), "blank") {
				t.Errorf("nodes %v, %v", nodes, err)
			}
		})
	}
}

func (i *Instance) addOrigin(o hypervisor.Origin) error {
	node, err := nbdNode(originNode(0), o, "", patience)
	if err != nil {
		return err
	}
	return i.addNode(i.end, originNode(0), node)
}

func (i *Instance) useAndRun(o hypervisor.Origin) error {
	if err := i.useOrigin(i.end, 0, o, ""); err != nil {
		return err
	}
	return i.execute(i.end, "cont", nil, nil)
}

// An agent that dies in the middle of Settle: the next Settle ends it, without
// asking again whether the disks are whole once one has left its origin.
func TestHalfASettle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		half func(i *Instance) error
		asks int
	}{
		"held":      {func(i *Instance) error { return i.hold(i.end) }, 1},
		"completed": {func(i *Instance) error { return i.holdAnd(func() error { return i.complete(i.end, 0) }) }, 0},
		"pivoted":   {func(i *Instance) error { return i.holdAnd(func() error { return i.pivot(i.end, 0) }) }, 0},
		"going on": {func(i *Instance) error {
			return i.holdAnd(func() error {
				if err := i.pivot(i.end, 0); err != nil {
					return err
				}
				return i.goOn(i.end)
			})
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := hydrating(t, filepath.Join(t.TempDir(), "disk"), 0)
			soon(t, "the disk is whole", func() bool {
				h, err := i.Hydration(t.Context())
				return err == nil && h.Ready
			})
			if err := c.half(i); err != nil {
				t.Fatal(err)
			}
			asked := 0
			if err := i.Settle(t.Context(), func(context.Context) error { asked++; return nil }); err != nil {
				t.Fatal(err)
			}
			if asked != c.asks {
				t.Errorf("whole was asked %d times, not %d", asked, c.asks)
			}
			h, err := i.Hydration(t.Context())
			if err != nil || !h.Settled {
				t.Errorf("after Settle: %+v, %v", h, err)
			}
			before := counted(t, i)
			soon(t, "the guest goes on", func() bool { return counted(t, i) > before })
		})
	}
}

func (i *Instance) holdAnd(do func() error) error {
	if err := i.hold(i.end); err != nil {
		return err
	}
	return do()
}

func TestHandleIsJSON(t *testing.T) {
	t.Parallel()
	s := labSpec(t)
	i := labStart(t, New(Config{Accel: tcg}), s)
	var h handle
	if err := json.Unmarshal(i.Handle(), &h); err != nil || h.Process.PID != i.PID() || !h.made(s) {
		t.Errorf("handle %s, %v", i.Handle(), err)
	}
}
