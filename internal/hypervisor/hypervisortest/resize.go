package hypervisortest

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A disk grows while its guest counts, also after the agent was killed, keeps
// what it holds, and is as large at the next start.
func disksGrow(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	i := h.running("root", "data")
	if _, ok := i.(hypervisor.Resizer); !ok {
		return // the driver does not claim to
	}
	s := h.spec("root", "data")
	before := e.Content(t, s.Disks[1].Path)
	resize(t, i, "data", 2*DiskSize)
	i = h.again(i)
	resize(t, i, "data", 2*DiskSize)
	resize(t, i, "root", DiskSize+1<<20)
	for disk, want := range map[string]droveway.Kind{"data": droveway.Invalid, "none": droveway.NotFound} {
		if err := i.(hypervisor.Resizer).Resize(t.Context(), disk, DiskSize); !droveway.Is(err, want) {
			t.Errorf("disk %s to its old size: %v, want %s", disk, err, want)
		}
	}
	last := counting(t, i.Console(), 3)
	readConsole(t, i.Console()).gapless(t)
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	after := e.Content(t, s.Disks[1].Path)
	if len(after) != 2*DiskSize || len(e.Content(t, s.Disks[0].Path)) != DiskSize+1<<20 {
		t.Fatalf("disk data has %d bytes, want %d", len(after), 2*DiskSize)
	}
	holds(t, after, last)
	if err := equal(before[ringUnit*(ringSlots+1):], after[ringUnit*(ringSlots+1):DiskSize]); err != nil {
		t.Error(err)
	}
	s.Disks[0].Size, s.Disks[1].Size = DiskSize+1<<20, 2*DiskSize
	i2 := h.start(s)
	counting(t, i2.Console(), 1)
}

func resize(t *testing.T, i hypervisor.Instance, disk string, size int64) {
	t.Helper()
	r, ok := i.(hypervisor.Resizer)
	if !ok {
		t.Fatalf("%T is no Resizer", i)
	}
	twice(t, "resize", func() error { return r.Resize(t.Context(), disk, size) })
}

// Both copies have to be of one size: nothing grows between the first page that
// is sent and the end of the copy.
func noGrowthInAMove(t *testing.T, e Env) {
	refused := func(when string, i hypervisor.Instance) {
		t.Helper()
		err := i.(hypervisor.Resizer).Resize(t.Context(), "root", 2*DiskSize)
		if !droveway.Is(err, droveway.Conflict) {
			t.Errorf("%s: %v, want a conflict", when, err)
		}
	}
	r := newTrip(t, e, "root")
	if _, ok := r.from.(hypervisor.Resizer); !ok {
		return
	}
	r.send()
	refused("held", r.from)
	refused("incoming", r.to)
	r.handOver()
	refused("sent", r.from)
	refused("received", r.to)
	r.export()
	r.takeOver(slow)
	refused("hydrating", r.to)
	if err := r.to.SetRate(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	r.ready()
	refused("mirrored", r.to)
	r.settle()
	resize(t, r.to, "root", 2*DiskSize)
	counting(t, r.to.Console(), 2)
	r.counts()
}
