package hypervisortest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/hypervisor"
)

// host is a place where instances of a machine run.
type host struct {
	t      *testing.T
	env    Env
	name   string
	dir    string
	driver hypervisor.Driver
	tls    *hypervisor.TLS
}

func newHost(t *testing.T, e Env, name string) *host {
	h := &host{t: t, env: e, name: name, dir: tempDir(t), driver: e.New(t)}
	if e.TLS != nil {
		h.tls = e.TLS(t, "fleet", name)
	}
	return h
}

// tempDir makes a directory that an unprivileged user can pass through, as a
// host's is.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spec describes a machine whose disks lie here.
func (h *host) spec(disks ...string) hypervisor.Spec {
	dir := filepath.Join(h.dir, "instance")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	s := hypervisor.Spec{
		Machine: "m", UUID: "6f1c9a52-8a10-4c0d-9d3c-6b0f3b0a7e11", Dir: dir,
		CPUs: 1, MemoryMiB: 32, Extra: h.env.Extra, TLS: h.tls,
	}
	for _, name := range disks {
		s.Disks = append(s.Disks, hypervisor.Disk{
			Name: name, Path: filepath.Join(h.dir, name), Format: h.env.Format, Size: DiskSize,
		})
	}
	return s
}

// fill makes the disks of a spec: the guest, and noise where it may write.
func (h *host) fill(s hypervisor.Spec) {
	h.t.Helper()
	for n, d := range s.Disks {
		content := make([]byte, DiskSize)
		if n == 0 && h.env.Guest != nil {
			h.env.Guest(content, len(s.Disks))
		}
		noise := content[ringUnit : DiskSize-ringUnit]
		_, _ = rand.New(rand.NewSource(int64(n))).Read(noise) // never fails
		h.env.Create(h.t, d.Path, content)
	}
}

// blank makes the disks of a spec empty.
func (h *host) blank(s hypervisor.Spec) {
	h.t.Helper()
	for _, d := range s.Disks {
		h.env.Create(h.t, d.Path, make([]byte, DiskSize))
	}
}

// start starts an instance, which the test ends.
func (h *host) start(s hypervisor.Spec) hypervisor.Instance {
	h.t.Helper()
	i, err := h.driver.Start(h.t.Context(), s)
	if err != nil {
		h.t.Fatal(err)
	}
	h.endLater(i)
	return i
}

func (h *host) endLater(i hypervisor.Instance) {
	handle := i.Handle()
	h.t.Cleanup(func() {
		_ = i.Close()
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		left, err := h.env.New(h.t).Attach(ctx, handle)
		if err != nil {
			return // it has ended
		}
		h.env.Kill(h.t, left) // its origin may be gone, which makes an orderly end long
		if err := left.Stop(ctx, 0); err != nil {
			h.t.Error(err)
		}
		_ = left.Close()
	})
}

// running starts a machine with the suite's guest and waits until it counts.
func (h *host) running(disks ...string) hypervisor.Instance {
	h.t.Helper()
	s := h.spec(disks...)
	h.fill(s)
	i := h.start(s)
	counting(h.t, i.Console(), 3)
	return i
}

// again lets go of an instance and finds it by its handle, with a driver that
// knows nothing yet.
func (h *host) again(i hypervisor.Instance) hypervisor.Mover {
	h.t.Helper()
	handle := i.Handle()
	if err := i.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.driver = h.env.New(h.t)
	found, err := h.driver.Attach(h.t.Context(), handle)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = found.Close() })
	return mover(h.t, found)
}

func mover(t *testing.T, i hypervisor.Instance) hypervisor.Mover {
	t.Helper()
	m, ok := i.(hypervisor.Mover)
	if !ok {
		t.Fatalf("%T is no Mover", i)
	}
	return m
}

func (h *host) restorer() hypervisor.Restorer {
	h.t.Helper()
	r, ok := h.driver.(hypervisor.Restorer)
	if !ok {
		h.t.Fatalf("%T is no Restorer", h.driver)
	}
	return r
}

// secondary starts a secondary, which the test ends.
func (h *host) secondary(listen, peer string) hypervisor.Secondary {
	h.t.Helper()
	return h.secondaryIn("secondary", listen, peer)
}

func (h *host) secondaryIn(name, listen, peer string) hypervisor.Secondary {
	h.t.Helper()
	dir := filepath.Join(h.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	s, err := h.restorer().Secondary(h.t.Context(), hypervisor.SecondarySpec{Machine: "m", Dir: dir, Listen: listen, TLS: h.tls, Peer: peer})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			h.t.Error(err)
		}
		_ = s.Close()
	})
	return s
}

// is waits until an instance is in a state.
func is(t *testing.T, i hypervisor.Instance, want hypervisor.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for {
		changed := i.Changed()
		s, err := i.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s == want {
			return
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the instance is %s, not %s", s, want)
		}
	}
}

// twice does what may be repeated.
func twice(t *testing.T, what string, do func() error) {
	t.Helper()
	for _, time := range []string{"first", "second"} {
		if err := do(); err != nil {
			t.Fatalf("%s, the %s time: %v", what, time, err)
		}
	}
}

// equal compares two disks.
func equal(a, b []byte) error {
	if bytes.Equal(a, b) {
		return nil
	}
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return fmt.Errorf("the disks differ from byte %#x on (of %#x and %#x)", i, len(a), len(b))
		}
	}
	return fmt.Errorf("the disks have %#x and %#x bytes", len(a), len(b))
}
