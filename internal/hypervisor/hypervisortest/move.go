package hypervisortest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// trip is a machine on its way from host a to host b.
type trip struct {
	t      *testing.T
	a, b   *host
	from   hypervisor.Mover
	to     hypervisor.Mover
	second hypervisor.Secondary
	disks  []hypervisor.Disk // on a
	local  []hypervisor.Disk // on b
	memory string            // address
}

const anyPort = "127.0.0.1:0"

// newTrip starts a machine on a and an instance on b that waits for it.
func newTrip(t *testing.T, e Env, disks ...string) *trip {
	t.Helper()
	r := facing(t, e, disks...)
	r.receive()
	return r
}

// facing is a trip whose target does not listen yet.
func facing(t *testing.T, e Env, disks ...string) *trip {
	t.Helper()
	r := &trip{t: t, a: newHost(t, e, "a"), b: newHost(t, e, "b")}
	r.from = mover(t, r.a.running(disks...))
	r.disks = r.a.spec(disks...).Disks
	s := r.b.spec(disks...)
	s.Incoming, s.Peer, r.local = true, "a", s.Disks
	r.b.blank(s)
	r.to = mover(t, r.b.start(s))
	return r
}

func (r *trip) receive() {
	r.t.Helper()
	for range 2 {
		was := r.memory
		var err error
		if r.memory, err = r.to.Receive(r.t.Context(), anyPort); err != nil {
			r.t.Fatal(err)
		}
		if was != "" && was != r.memory {
			r.t.Errorf("repeated, Receive listens at %s, not at %s", r.memory, was)
		}
	}
}

func (r *trip) send() {
	r.t.Helper()
	twice(r.t, "send", func() error { return r.from.Send(r.t.Context(), r.memory, "b", 0) })
	is(r.t, r.from, hypervisor.Held)
}

func (r *trip) handOver() {
	r.t.Helper()
	twice(r.t, "hand over", func() error { return handOver(r.t.Context(), r.from) })
	is(r.t, r.from, hypervisor.Sent)
	is(r.t, r.to, hypervisor.Received)
}

func (r *trip) export() {
	r.t.Helper()
	if r.second == nil {
		r.second = r.a.secondary(anyPort, "b")
	}
	twice(r.t, "export", func() error { return r.second.Export(r.t.Context(), r.disks) })
}

func (r *trip) origins(rate int64) []hypervisor.Origin {
	var all []hypervisor.Origin
	for _, d := range r.disks {
		all = append(all, hypervisor.Origin{Disk: d.Name, Address: r.second.Address(), Export: d.Name, Peer: "a", Rate: rate, Reads: r.a.env.reads})
	}
	return all
}

func (r *trip) takeOver(rate int64) {
	r.t.Helper()
	twice(r.t, "take over", func() error { return r.to.TakeOver(r.t.Context(), r.origins(rate)) })
	is(r.t, r.to, hypervisor.Running)
}

// switched leads the machine to b, where its disks hydrate at a rate.
func switched(t *testing.T, e Env, rate int64, disks ...string) *trip {
	t.Helper()
	r := newTrip(t, e, disks...)
	r.send()
	r.handOver()
	r.export()
	r.takeOver(rate)
	counting(t, r.to.Console(), 2)
	return r
}

// slow is a rate at which hydration does not end within a test.
const slow = 256 << 10

func (r *trip) hydration() hypervisor.Hydration {
	r.t.Helper()
	h, err := r.to.Hydration(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *trip) ready() {
	r.t.Helper()
	eventually(r.t, "the disks are mirrored", func() bool { return r.hydration().Ready })
}

// same compares both sides of all disks.
func (r *trip) same(context.Context) error {
	var errs []error
	for n := range r.disks {
		errs = append(errs, equal(r.a.env.Content(r.t, r.disks[n].Path), r.b.env.Content(r.t, r.local[n].Path)))
	}
	return errors.Join(errs...)
}

func (r *trip) settle() {
	r.t.Helper()
	asked := 0
	twice(r.t, "settle", func() error {
		return r.to.Settle(r.t.Context(), func(ctx context.Context) error {
			asked++
			still(r.t, r.to.Console())
			return r.same(ctx)
		})
	})
	if asked != 1 {
		r.t.Errorf("whole was asked %d times", asked)
	}
	h := r.hydration()
	if !h.Settled || !h.Ready || h.Done != h.Total {
		r.t.Errorf("after Settle: %+v", h)
	}
}

// counts checks what the guest printed on both hosts together: one boot, no
// count lost and none twice.
func (r *trip) counts() {
	r.t.Helper()
	c := readConsole(r.t, r.from.Console(), r.to.Console())
	c.gapless(r.t)
	if c.boots != 1 {
		r.t.Errorf("the guest has booted %d times", c.boots)
	}
}

// SYSTEMS 6.2, 6.8: the move of a machine with two disks. Before each verb both
// agents are killed, so to speak: all that is known is in the handles. The
// machine is moved back by the same way at the end.
func wholeMove(t *testing.T, e Env) {
	r := newTrip(t, e, "root", "data")
	r.from, r.to = r.a.again(r.from), r.b.again(r.to)
	is(t, r.to, hypervisor.Incoming)
	r.receive()
	r.send()
	r.from, r.to = r.a.again(r.from), r.b.again(r.to)
	still(t, r.from.Console())
	if p, err := r.from.Sent(t.Context()); err != nil || p.State != hypervisor.Held || p.Total <= 0 {
		t.Errorf("held: %+v, %v", p, err)
	}
	r.handOver()
	r.from, r.to = r.a.again(r.from), r.b.again(r.to)
	if err := r.from.Resume(t.Context()); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a guest that was sent is resumed: %v", err)
	}
	r.second = r.a.secondary(anyPort, "b")
	r.second = r.reattach(r.second)
	r.export()
	r.takeOver(4 << 20)
	r.from, r.to = r.a.again(r.from), r.b.again(r.to)
	r.takeOver(4 << 20)
	counting(t, r.to.Console(), 2)
	r.ready()
	r.to = r.b.again(r.to)
	r.settle()
	r.to = r.b.again(r.to)
	twice(t, "revoke", func() error { return r.second.Revoke(t.Context()) })
	twice(t, "stop the secondary", func() error { return r.second.Stop(t.Context()) })
	twice(t, "stop the source", func() error { return r.from.Stop(t.Context(), time.Second) })
	last := counting(t, r.to.Console(), 3)
	r.counts()
	r.ends(last)
}

// ends stops the machine and checks that its last counts are on the target, and
// there alone.
func (r *trip) ends(last uint32) {
	r.t.Helper()
	if err := r.to.Stop(r.t.Context(), 0); err != nil {
		r.t.Fatal(err)
	}
	for _, d := range r.local {
		holds(r.t, r.b.env.Content(r.t, d.Path), last)
	}
	if r.same(r.t.Context()) == nil {
		r.t.Error("the guest still writes to its source")
	}
}

func (r *trip) reattach(s hypervisor.Secondary) hypervisor.Secondary {
	r.t.Helper()
	if err := s.Close(); err != nil {
		r.t.Fatal(err)
	}
	found, err := r.a.restorer().AttachSecondary(r.t.Context(), s.Handle())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = found.Close() })
	if found.Address() != s.Address() || found.PID() != s.PID() || !found.Alive(r.t.Context()) {
		r.t.Errorf("secondary %d at %s was %d at %s", found.PID(), found.Address(), s.PID(), s.Address())
	}
	return found
}

// SYSTEMS 6.10: a cancel before the switch leaves the source running.
func cancelMove(t *testing.T, e Env) {
	r := newTrip(t, e, "root", "data")
	r.send()
	still(t, r.from.Console())
	twice(t, "cancel", func() error { return r.from.Cancel(t.Context()) })
	is(t, r.from, hypervisor.Running)
	is(t, r.to, hypervisor.Gone)
	counting(t, r.from.Console(), 2)
	c := readConsole(t, r.from.Console())
	c.gapless(t)
	if p, err := r.from.Sent(t.Context()); err != nil || p.State != hypervisor.Running {
		t.Errorf("after the cancel: %+v, %v", p, err)
	}
	r.next()
	r.handOver()
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 2)
	r.counts()
}

// next tries the move again with another instance.
func (r *trip) next() {
	r.t.Helper()
	s := r.b.spec()
	s.Disks, s.Incoming, s.Peer = r.local, true, "a"
	s.Dir = tempDir(r.t)
	r.to, r.memory = mover(r.t, r.b.start(s)), ""
	r.receive()
	r.send()
}

func noWayBack(t *testing.T, e Env) {
	r := newTrip(t, e, "root")
	r.send()
	r.handOver()
	for verb, err := range map[string]error{
		"cancel": r.from.Cancel(t.Context()), "resume": r.from.Resume(t.Context()), "pause": r.from.Pause(t.Context()),
		"cancel of the target": r.to.Cancel(t.Context()), "resume of the target": r.to.Resume(t.Context()),
	} {
		if !droveway.Is(err, droveway.Conflict) {
			t.Errorf("%s after the handover: %v", verb, err)
		}
	}
	still(t, r.from.Console())
	if err := r.to.TakeOver(t.Context(), []hypervisor.Origin{{Disk: "another"}}); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a take-over without an origin for its disk: %v", err)
	}
	is(t, r.to, hypervisor.Received)
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 1)
	r.counts()
}

func sendToNobody(t *testing.T, e Env) {
	r := newTrip(t, e, "root")
	e.Kill(t, r.to)
	is(t, r.to, hypervisor.Gone)
	if err := r.from.Send(t.Context(), r.memory, "b", 0); err != nil {
		t.Fatal(err)
	}
	r.fails()
	r.next()
}

// fails waits until a Send has come to nothing, and the guest goes on. A small
// guest can be in the buffers of the network before the target has refused it;
// then it is the handover that fails.
func (r *trip) fails() {
	r.t.Helper()
	eventually(r.t, "sending fails", func() bool {
		p, err := r.from.Sent(r.t.Context())
		if err != nil || p.State == hypervisor.Sent {
			r.t.Fatalf("%+v, %v", p, err)
		}
		if p.State == hypervisor.Held && handOver(r.t.Context(), r.from) == nil {
			r.t.Fatal("handed over to a target that refuses it")
		}
		return p.State == hypervisor.Running && p.Error != ""
	})
	is(r.t, r.from, hypervisor.Running)
	counting(r.t, r.from.Console(), 1)
}

func targetKilledBefore(t *testing.T, e Env) {
	r := newTrip(t, e, "root")
	r.send()
	e.Kill(t, r.to)
	is(t, r.to, hypervisor.Gone)
	if err := handOver(t.Context(), r.from); err == nil {
		t.Fatal("handed over to a dead target")
	}
	is(t, r.from, hypervisor.Running)
	counting(t, r.from.Console(), 2)
	readConsole(t, r.from.Console()).gapless(t)
}

func handOver(ctx context.Context, m hypervisor.Mover) error {
	_, err := m.Handover(ctx)
	return err
}
