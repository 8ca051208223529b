package hypervisortest

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// standing makes a machine whose disks are on a and served there, and an
// instance on b that stands.
func standing(t *testing.T, e Env) *trip {
	t.Helper()
	r := &trip{t: t, a: newHost(t, e, "a"), b: newHost(t, e, "b")}
	at := r.a.spec("root", "data")
	r.a.fill(at)
	s := r.b.spec("root", "data")
	s.Standing, r.local, r.disks = true, s.Disks, at.Disks
	r.b.blank(s)
	r.to = mover(t, r.b.start(s))
	is(t, r.to, hypervisor.Received)
	if err := r.to.Resume(t.Context()); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a guest that stands is resumed: %v", err)
	}
	return r
}

// A machine boots from disks of another host, which follow.
func bootOverOrigin(t *testing.T, e Env) {
	r := standing(t, e)
	r.to = r.b.again(r.to)
	is(t, r.to, hypervisor.Received)
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 3)
	r.ready()
	r.settle()
	last := counting(t, r.to.Console(), 1)
	c := readConsole(t, r.to.Console())
	c.gapless(t)
	if c.boots != 1 {
		t.Errorf("the guest has booted %d times", c.boots)
	}
	r.ends(last)
}

func bootLocal(t *testing.T, e Env) {
	r := standing(t, e)
	r.b.fill(hypervisor.Spec{Disks: r.local})
	twice(t, "take over", func() error { return r.to.TakeOver(t.Context(), nil) })
	last := counting(t, r.to.Console(), 3)
	if h := r.hydration(); !h.Settled || !h.Ready {
		t.Errorf("with local disks: %+v", h)
	}
	if err := r.to.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.local {
		holds(t, e.Content(t, d.Path), last)
	}
}

// A machine whose disks still hydrate goes back to where they are: only memory
// travels.
func goBack(t *testing.T, e Env) {
	r := switched(t, e, slow, "root", "data")
	if err := r.from.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	s := r.a.spec()
	s.Dir, s.Disks, s.Incoming, s.Peer = tempDir(t), r.disks, true, "b"
	back := mover(t, r.a.start(s))
	memory, err := back.Receive(t.Context(), anyPort)
	if err != nil {
		t.Fatal(err)
	}
	twice(t, "send", func() error { return r.to.Send(t.Context(), memory, "a", 0) })
	is(t, r.to, hypervisor.Held)
	twice(t, "hand over", func() error { return handOver(t.Context(), r.to) })
	is(t, back, hypervisor.Received)
	if err := r.second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	twice(t, "take over", func() error { return back.TakeOver(t.Context(), nil) })
	last := counting(t, back.Console(), 3)
	c := readConsole(t, r.from.Console(), r.to.Console(), back.Console())
	c.gapless(t)
	if c.boots != 1 {
		t.Errorf("the guest has booted %d times", c.boots)
	}
	if err := back.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.disks {
		holds(t, e.Content(t, d.Path), last)
	}
}
