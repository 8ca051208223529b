package hypervisortest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A proof that fails changes nothing.
func foundDifferent(t *testing.T, e Env) {
	r := switched(t, e, 0, "root", "data")
	r.ready()
	no := errors.New("they differ")
	if err := r.to.Settle(t.Context(), func(context.Context) error { return no }); !errors.Is(err, no) {
		t.Errorf("Settle said %v", err)
	}
	is(t, r.to, hypervisor.Running)
	last := counting(t, r.to.Console(), 2)
	if h := r.hydration(); h.Settled || !h.Ready {
		t.Errorf("after a proof that failed: %+v", h)
	}
	holds(t, e.Content(t, r.disks[0].Path), last)
	r.settle()
	r.counts()
}

// SYSTEMS 6.7: a secondary that was killed is started again at its address, and
// the target goes on by itself.
func secondaryKilled(t *testing.T, e Env) {
	r := switched(t, e, slow, "root")
	e.Kill(t, r.second)
	eventually(t, "the secondary is dead", func() bool { return !r.second.Alive(t.Context()) })
	if _, err := r.a.restorer().AttachSecondary(t.Context(), r.second.Handle()); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a dead secondary is found: %v", err)
	}
	still(t, r.to.Console())
	r.second = r.a.secondary(r.second.Address(), "b")
	r.export()
	r.recovers()
	r.settle()
	r.counts()
}

// nudge helps a machine that an outage has stopped, as its agent does.
func (r *trip) nudge() hypervisor.Hydration {
	r.t.Helper()
	s, err := r.to.State(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	h := r.hydration()
	if s == hypervisor.Stuck || h.Paused {
		if err := r.to.Resume(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return h
}

// recovers waits until the guest counts again and its disks are mirrored.
func (r *trip) recovers() {
	r.t.Helper()
	before := readConsole(r.t, r.to.Console()).last()
	eventually(r.t, "the guest goes on", func() bool {
		r.nudge()
		return readConsole(r.t, r.to.Console()).last() > before
	})
	if err := r.to.SetRate(r.t.Context(), 0); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the disks are mirrored", func() bool { return r.nudge().Ready })
}

// SYSTEMS 6.4: when the target dies the source's disks have every write that
// was acknowledged, and the machine boots from them.
func targetKilled(t *testing.T, e Env) {
	r := switched(t, e, slow, "root", "data")
	counting(t, r.to.Console(), 5)
	if h := r.hydration(); h.Ready || h.Settled || h.Done >= h.Total {
		t.Errorf("hydrated too soon to show anything: %+v", h)
	}
	e.Kill(t, r.to)
	is(t, r.to, hypervisor.Gone)
	last := readConsole(t, r.to.Console()).last()
	if err := r.second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.disks {
		holds(t, e.Content(t, d.Path), last)
	}
	r.counts()
	if err := r.from.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	s := r.a.spec("root", "data")
	s.Dir = tempDir(t)
	i := r.a.start(s)
	if n := counting(t, i.Console(), 1); n <= last {
		t.Errorf("booted from the source's disks the guest counts %08X, it had %08X acknowledged", n, last)
	}
}

// SYSTEMS 6.9: once the export is revoked nothing is written any more, and
// nothing acknowledged.
func revokeFences(t *testing.T, e Env) {
	r := switched(t, e, slow, "root")
	if err := r.second.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := e.Content(t, r.disks[0].Path)
	last := readConsole(t, r.to.Console()).last()
	holds(t, before, last)
	still(t, r.to.Console())
	if now := readConsole(t, r.to.Console()).last(); now != last {
		t.Errorf("count %08X was acknowledged after the export had been revoked", now)
	}
	if err := equal(before, e.Content(t, r.disks[0].Path)); err != nil {
		t.Error(err)
	}
}

// SYSTEMS 6.9: that the target has all of the disks changes nothing about it.
func revokeFencesToTheEnd(t *testing.T, e Env) {
	r := switched(t, e, 0, "root", "data")
	r.ready()
	if err := r.second.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	is(t, r.to, hypervisor.Stuck)
	last := readConsole(t, r.to.Console()).last()
	for _, d := range r.disks {
		holds(t, e.Content(t, d.Path), last)
	}
}

// SYSTEMS 6.6: an outage that outlasts the patience of the hypervisor stops the
// guest; it sees no error, and goes on when its origin is back.
func longOutage(t *testing.T, e Env) {
	r := switched(t, e, slow, "root", "data")
	e.Kill(t, r.second)
	is(t, r.to, hypervisor.Stuck)
	if h := r.hydration(); h.Ready {
		t.Errorf("a stuck guest's disks are ready: %+v", h)
	}
	if err := r.to.Settle(t.Context(), r.same); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a stuck guest is settled: %v", err)
	}
	r.to = r.b.again(r.to)
	r.second = r.a.secondary(r.second.Address(), "b")
	r.export()
	r.recovers()
	r.settle()
	r.counts()
}

// SYSTEMS 6.12: the rate of the copy is kept.
func copyRate(t *testing.T, e Env) {
	const rate = 1 << 20
	r := switched(t, e, rate, "root")
	begun, first := time.Now(), r.hydration().Done
	time.Sleep(2 * time.Second)
	h := r.hydration()
	if most := int64(rate * (time.Since(begun).Seconds() + 1)); h.Done-first > most {
		t.Errorf("%d bytes in %s: at most %d", h.Done-first, time.Since(begun), most)
	}
	if h.Ready || h.Paused || h.Total != DiskSize {
		t.Errorf("in the middle of the copy: %+v", h)
	}
	if err := r.to.SetRate(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	r.ready()
}
