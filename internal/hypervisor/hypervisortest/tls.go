package hypervisortest

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// impostor is a host whose credentials are of another authority.
func impostor(t *testing.T, e Env, name string) *host {
	h := newHost(t, e, name)
	h.tls = e.TLS(t, "impostors", name)
	return h
}

func wrongSender(t *testing.T, e Env) {
	if e.TLS == nil {
		return // nothing to refuse by
	}
	r := newTrip(t, e, "root")
	evil := impostor(t, e, "a")
	s := evil.spec("root")
	evil.fill(s)
	from := mover(t, evil.start(s))
	mine := r.from
	r.from = from
	if err := from.Send(t.Context(), r.memory, "b", 0); err != nil {
		t.Fatal(err)
	}
	r.fails()
	is(t, r.to, hypervisor.Incoming)
	r.from = mine
	r.send()
	r.handOver()
}

// wrongPeer has a certificate of the right authority for another name.
func wrongPeer(t *testing.T, e Env) {
	if e.TLS == nil {
		return // nothing to refuse by
	}
	r := newTrip(t, e, "root")
	other := newHost(t, e, "c")
	s := other.spec("root")
	other.fill(s)
	mine := r.from
	r.from = mover(t, other.start(s))
	if err := r.from.Send(t.Context(), r.memory, "b", 0); err != nil {
		t.Fatal(err)
	}
	r.fails()
	is(t, r.to, hypervisor.Incoming)
	r.from = mine
	if err := r.from.Send(t.Context(), r.memory, "c", 0); err != nil {
		t.Fatal(err)
	}
	r.fails() // the target is b, not c
	r.next()
	r.handOver()
}

func wrongServer(t *testing.T, e Env) {
	if e.TLS == nil {
		return // nothing to refuse by
	}
	r := newTrip(t, e, "root")
	r.send()
	r.handOver()
	evil := impostor(t, e, "a")
	r.second = evil.secondary(anyPort, "b")
	r.export()
	if err := r.to.TakeOver(t.Context(), r.origins(0)); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("disks of an impostor: %v", err)
	}
	is(t, r.to, hypervisor.Received)
	if err := r.second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.second = nil
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 1)
	r.counts()
}

func wrongReader(t *testing.T, e Env) {
	if e.TLS == nil {
		return // nothing to refuse by
	}
	r := newTrip(t, e, "root")
	r.send()
	r.handOver()
	for _, peer := range []string{"bb"} {
		r.second = r.a.secondary(anyPort, peer)
		r.export()
		if err := r.to.TakeOver(t.Context(), r.origins(0)); !droveway.Is(err, droveway.Unavailable) {
			t.Errorf("disks for %s are given to b: %v", peer, err)
		}
		if err := r.second.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.second = nil
	}
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 1)
}
