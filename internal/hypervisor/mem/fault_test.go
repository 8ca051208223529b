package mem_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

func spec(t *testing.T, format droveway.Format) hypervisor.Spec {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return hypervisor.Spec{
		Machine: "m", Dir: dir, CPUs: 1, MemoryMiB: 64,
		Disks: []hypervisor.Disk{{Name: "root", Path: path, Format: format, Size: 1 << 20}},
	}
}

func TestFaultsAreInjected(t *testing.T) {
	t.Parallel()
	d, s, want := mem.New(), spec(t, droveway.Raw), errors.New("out of order")
	d.Fail("Start", want)
	if _, err := d.Start(t.Context(), s); !errors.Is(err, want) {
		t.Errorf("Start said %v", err)
	}
	d.Fail("Start", nil)
	i, err := d.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	mover := i.(hypervisor.Mover)
	for verb, do := range map[string]func() error{
		"Send":      func() error { return mover.Send(t.Context(), "", "", 0) },
		"Handover":  func() error { _, err := mover.Handover(t.Context()); return err },
		"Cancel":    func() error { return mover.Cancel(t.Context()) },
		"TakeOver":  func() error { return mover.TakeOver(t.Context(), nil) },
		"Settle":    func() error { return mover.Settle(t.Context(), nil) },
		"SetRate":   func() error { return mover.SetRate(t.Context(), 0) },
		"Pause":     func() error { return i.Pause(t.Context()) },
		"Resume":    func() error { return i.Resume(t.Context()) },
		"Stop":      func() error { return i.Stop(t.Context(), 0) },
		"Hydration": func() error { _, err := mover.Hydration(t.Context()); return err },
		"Receive":   func() error { _, err := mover.Receive(t.Context(), ""); return err },
		"Sent":      func() error { _, err := mover.Sent(t.Context()); return err },
		"State":     func() error { _, err := i.State(t.Context()); return err },
		"Secondary": func() error { _, err := d.Secondary(t.Context(), hypervisor.SecondarySpec{}); return err },
		"Attach":    func() error { _, err := d.Attach(t.Context(), i.Handle()); return err },
		"Probe":     func() error { _, err := d.Probe(t.Context()); return err },
	} {
		d.Fail(verb, want)
		if err := do(); !errors.Is(err, want) {
			t.Errorf("%s said %v", verb, err)
		}
		d.Fail(verb, nil)
	}
	d.Kill("m")
	if s, err := i.State(t.Context()); err != nil || s != hypervisor.Gone {
		t.Errorf("after a kill: %s, %v", s, err)
	}
}

func TestGuestReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	d, s := mem.New(), spec(t, droveway.Raw)
	i, err := d.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill("m")
	guest, p := i.(*mem.Instance), make([]byte, 3)
	if err := guest.Write("root", 5, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := guest.Read("root", 5, p); err != nil || string(p) != "abc" {
		t.Errorf("read %q, %v", p, err)
	}
	if err := guest.Write("none", 0, p); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a disk that is not there: %v", err)
	}
	if err := i.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := guest.Write("root", 0, p); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a paused guest writes: %v", err)
	}
}

func TestOnlyRawDisksAreWritten(t *testing.T) {
	t.Parallel()
	d := mem.New()
	s := spec(t, droveway.QCOW2)
	s.Extra = []string{mem.Tick}
	i, err := d.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill("m")
	if err := i.(*mem.Instance).Write("root", 0, []byte("x")); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("a guest writes an opaque disk: %v", err)
	}
}
