//go:build lab

package qemu

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/nbd"
)

// source is an origin that is read only, and that the test can take away.
type source struct {
	b    []byte
	away atomic.Bool
}

func (s *source) Size() int64 { return int64(len(s.b)) }

func (s *source) Hole(context.Context, int64, int64) bool { return false }

func (s *source) Read(_ context.Context, p []byte, off int64) error {
	if s.away.Load() {
		return droveway.Errorf(droveway.Unavailable, "taken away by the test")
	}
	copy(p, s.b[off:])
	return nil
}

// served serves a source on the loopback interface.
func served(t *testing.T, s *source) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := nbd.Server{Log: slog.New(slog.DiscardHandler), Open: func(context.Context, string) (nbd.Export, error) { return s, nil }}
	go func() { done <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return ln.Addr().String()
}

// filledSpec describes a machine whose disk has nothing of its source yet.
func filledSpec(t *testing.T, s *source, rate int64) hypervisor.Spec {
	t.Helper()
	spec := labSpec(t)
	d := &spec.Disks[0]
	d.Path, d.Format, d.Size = filepath.Join(t.TempDir(), "disk"), droveway.QCOW2, labDisk+1<<20 // larger than the source
	d.Filled = &hypervisor.Origin{Address: served(t, s), Export: "root", Rate: rate}
	tool(t, "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "not-whole", d.Path, "13M")
	return spec
}

func progressOf(t *testing.T, i *Instance) hypervisor.Hydration {
	t.Helper()
	h, err := i.Hydration(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestFilled boots a guest from an origin that is only read. Its QEMU is killed in
// the midst of it: the next one goes on with what is there, and what the guest has
// written and flushed is among it. In the end the file has all, and needs nobody.
func TestFilled(t *testing.T) {
	t.Parallel()
	s := &source{b: content()}
	d, spec := New(Config{Accel: tcg}), filledSpec(t, s, crawl)
	i := labStart(t, d, spec)
	soon(t, "the guest runs", func() bool { return counted(t, i) > 1 })
	guestDoes(t, i, "write -P 0x5a %d %d", written, much)
	guestDoes(t, i, "flush")
	if h := progressOf(t, i); h.Ready || h.Settled || h.Done > labDisk/2 {
		t.Errorf("a copy that crawls is at %+v", h)
	}
	if err := i.Send(t.Context(), "127.0.0.1:1", "", 0); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a guest whose disk is not whole may leave: %v", err)
	}
	if err := i.Resize(t.Context(), "root", 20<<20); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a disk that is not whole may grow: %v", err)
	}
	if err := syscall.Kill(i.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	soon(t, "it is gone", i.proc.ended)

	spec.Disks[0].Filled.Rate = 0
	i = labStart(t, d, spec)
	soon(t, "the copy has all", func() bool { return progressOf(t, i).Ready })
	if err := i.Settle(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if h := progressOf(t, i); !h.Settled || !h.Ready || h.Done != spec.Disks[0].Size {
		t.Errorf("settled, it is at %+v", h)
	}
	s.away.Store(true)
	lines := counted(t, i)
	soon(t, "the guest goes on", func() bool { return counted(t, i) > lines })
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, spec.Disks[0].Path, s.b)
}

// wantFilled holds a file against its source with what the guest has written. The
// guest itself writes its counter into the first megabyte.
func wantFilled(t *testing.T, path string, from []byte) {
	t.Helper()
	want := append(bytes.Clone(from), make([]byte, 1<<20)...)
	copy(want[written:], bytes.Repeat([]byte{0x5a}, much))
	if got := contentQCOW2(t, path); !bytes.Equal(got[1<<20:], want[1<<20:]) {
		t.Error("the file differs from its source and what was written")
	}
	if said, err := exec.CommandContext(t.Context(), "qemu-img", "info", path).CombinedOutput(); err != nil || strings.Contains(string(said), "backing") {
		t.Errorf("it still needs another file: %v: %s", err, said)
	}
	if said, err := exec.CommandContext(t.Context(), "qemu-img", "check", path).CombinedOutput(); err != nil && !strings.Contains(string(said), "leaked") {
		t.Errorf("it is damaged: %v: %s", err, said)
	}
}

// TestFilledWaitsForItsOrigin takes the origin away: guest and copy wait, and go on
// when they are told to.
func TestFilledWaitsForItsOrigin(t *testing.T) {
	t.Parallel()
	s := &source{b: content()}
	d := New(Config{Accel: tcg})
	i := labStart(t, d, filledSpec(t, s, 1<<20))
	soon(t, "the guest runs", func() bool { return counted(t, i) > 1 })
	s.away.Store(true)
	soon(t, "the copy waits", func() bool { return progressOf(t, i).Paused })
	if err := i.Resume(t.Context()); err != nil { // too early
		t.Fatal(err)
	}
	soon(t, "the copy waits again", func() bool { return progressOf(t, i).Paused })
	s.away.Store(false)
	soon(t, "the copy has all", func() bool {
		if err := i.SetRate(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := i.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		return progressOf(t, i).Ready
	})
	if err := i.Settle(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// TestFilledNeedsItsOrigin: without the origin nothing starts, and nothing is left.
func TestFilledNeedsItsOrigin(t *testing.T) {
	t.Parallel()
	d, spec := New(Config{Accel: tcg}), filledSpec(t, &source{b: content()}, 0)
	address := spec.Disks[0].Filled.Address
	spec.Disks[0].Filled.Address = "127.0.0.1:1"
	if _, err := d.Start(t.Context(), spec); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("got %v", err)
	}
	spec.Disks[0].Filled.Address = address
	i := labStart(t, d, spec)
	soon(t, "the guest runs", func() bool { return counted(t, i) > 1 })
}
