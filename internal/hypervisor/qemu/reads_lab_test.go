//go:build lab

package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/nbd"
)

// wire is the way to an origin, which counts what comes from there.
type wire struct {
	address string
	came    atomic.Int64 // bytes
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	w := &wire{address: ln.Addr().String()}
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go w.carry(near, to)
		}
	}()
	return w
}

func (w *wire) carry(near net.Conn, to string) {
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		defer far.Close()
		_, _ = io.Copy(far, near)
	}()
	_, _ = io.Copy(near, io.TeeReader(far, w))
}

func (w *wire) Write(b []byte) (int, error) {
	w.came.Add(int64(len(b)))
	return len(b), nil
}

// booted boots a machine over an origin behind a wire, with a blank local disk.
func booted(t *testing.T, reads hypervisor.Reads, rate int64) (*Instance, *wire) {
	t.Helper()
	d, s := New(Config{Accel: tcg}), labSpec(t)
	w := newWire(t, serving(t, d).Address())
	s.Standing, s.Disks[0].Path = true, filepath.Join(t.TempDir(), "disk")
	createRaw(t, s.Disks[0].Path, make([]byte, labDisk))
	i := labStart(t, d, s)
	o := hypervisor.Origin{Disk: "root", Address: w.address, Export: "root", Rate: rate, Reads: reads}
	if err := i.TakeOver(t.Context(), []hypervisor.Origin{o}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the guest runs", func() bool { return counted(t, i) > 1 })
	return i, w
}

// sees reads what the guest's device would, through an export of the same node.
func sees(t *testing.T, i *Instance, at, n int) []byte {
	t.Helper()
	node, err := i.drive(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	qemu := func(command string, args object) {
		t.Helper()
		if err := i.execute(t.Context(), command, args, nil); err != nil {
			t.Fatal(err)
		}
	}
	qemu("nbd-server-start", object{"addr": object{"type": "unix", "data": object{"path": socket}}})
	defer qemu("nbd-server-stop", object{})
	qemu("block-export-add", object{"type": "nbd", "id": "look", "node-name": node})
	c, err := nbd.Dial(t.Context(), "unix", socket, node)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, n)
	if _, err := c.ReadAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	return b
}

// guestDoes makes a request as the guest's device does.
func guestDoes(t *testing.T, i *Instance, request string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(`qemu-io -d /machine/peripheral/%s/virtio-backend "%s"`, diskDevice(0), fmt.Sprintf(request, args...))
	if err := i.execute(t.Context(), "human-monitor-command", object{"command-line": line}, nil); err != nil {
		t.Fatal(err)
	}
}

const (
	faraway = 8 << 20  // a place on the disk that a slow copy does not reach
	written = 10 << 20 // another one
	much    = 1 << 20
	little  = much / 8 // more than the guest's own few requests make
	crawl   = 1        // bytes a second
)

// SYSTEMS 6.3: a block that is not copied yet reads right. Then it is local: with
// ReadLocal at once, and always once the disk has settled.
func TestReadsAreRightThenLocal(t *testing.T) {
	t.Parallel()
	for reads, travels := range map[hypervisor.Reads]bool{hypervisor.ReadLocal: false, hypervisor.ReadSource: true} {
		t.Run(string(reads), func(t *testing.T) {
			t.Parallel()
			i, w := booted(t, reads, crawl)
			is := content()[faraway:][:much]
			came := func(at int, want []byte) int64 {
				t.Helper()
				before := w.came.Load()
				if !bytes.Equal(sees(t, i, at, len(want)), want) {
					t.Errorf("the guest sees something else at %d", at)
				}
				return w.came.Load() - before
			}
			if n := came(faraway, is); n < much {
				t.Errorf("a part that is not copied was read, and %d bytes of it came", n)
			}
			seven := bytes.Repeat([]byte{7}, much)
			guestDoes(t, i, "write -P 7 %d %d", written, much)
			for at, want := range map[int][]byte{faraway: is, written: seven} {
				if n := came(at, want); travels != (n >= much) || !travels && n > little {
					t.Errorf("at %d is what was read or written before, and %d bytes came", at, n)
				}
			}
			settles(t, i)
			for at, want := range map[int][]byte{faraway: is, written: seven} {
				if n := came(at, want); n > 0 {
					t.Errorf("of a disk that has settled %d bytes came", n)
				}
			}
		})
	}
}

// settles lets a disk be copied at full speed and leave its origin.
func settles(t *testing.T, i *Instance) {
	t.Helper()
	if err := i.SetRate(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	soon(t, "the disk is whole", func() bool {
		h, err := i.Hydration(t.Context())
		return err == nil && h.Ready
	})
	if err := i.Settle(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// SYSTEMS 6.12, on the wire.
func TestCopyRateOnTheWire(t *testing.T) {
	t.Parallel()
	const rate = 1 << 20
	for _, reads := range []hypervisor.Reads{hypervisor.ReadLocal, hypervisor.ReadSource} {
		t.Run(string(reads), func(t *testing.T) {
			t.Parallel()
			i, w := booted(t, reads, rate)
			begun, first := time.Now(), w.came.Load()
			soon(t, "some of it comes", func() bool { return w.came.Load() > first+3*rate })
			took := time.Since(begun).Seconds()
			if n := w.came.Load() - first; float64(n) > rate*(took+2) {
				t.Errorf("%d bytes came in %.1f s: at most %d a second", n, took, rate)
			}
			if h, err := i.Hydration(t.Context()); err != nil || h.Ready || h.Paused {
				t.Errorf("in the middle of the copy: %+v, %v", h, err)
			}
		})
	}
}

// A copy to read from locally does not end by itself: QEMU 7.2 crashes if it is
// asked for its block nodes meanwhile, as whoever asks for the state of an instance
// does at any time.
func TestNodesMayBeAskedForWhileACopyEnds(t *testing.T) {
	t.Parallel()
	i, _ := booted(t, hypervisor.ReadLocal, crawl)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for range 2 {
		asking.Go(func() {
			for ctx.Err() == nil {
				_, _ = i.nodes(ctx) // what counts is that QEMU lives
			}
		})
	}
	for range 50 { // called off and begun anew
		if err := i.endCopy(ctx, 0); err != nil {
			t.Fatal(err)
		}
		if err := i.stream(ctx, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "the copy has all, and waits", func() bool {
		jobs, err := i.jobs(ctx)
		return err == nil && jobs[syncJob(0)].streamed()
	})
	if err := i.SetRate(ctx, much); err != nil {
		t.Errorf("the rate of a copy that has all: %v", err)
	}
	h, err := i.Hydration(ctx)
	if err != nil || !h.Ready || h.Done != h.Total {
		t.Errorf("%+v, %v: want a whole disk", h, err)
	}
	before := counted(t, i)
	soon(t, "the guest goes on", func() bool { return counted(t, i) > before })
}
