package hypervisortest

import (
	"context"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/hypervisor"
)

// interrupted moves a machine with every verb cut off half way, a bit later each
// time, by agents that are replaced after each attempt: whatever an attempt has
// left undone the next one finds out and completes.
func interrupted(t *testing.T, e Env) {
	r := newTrip(t, e, "root", "data")
	r.from, r.to = r.a.again(r.from), r.b.again(r.to)
	r.cut("send", func(ctx context.Context) error { return r.from.Send(ctx, r.memory, "b", 0) })
	is(t, r.from, hypervisor.Held)
	r.cut("hand over", func(ctx context.Context) error { return handOver(ctx, r.from) })
	is(t, r.to, hypervisor.Received)
	r.second = r.a.secondary(anyPort, "b")
	r.cut("export", func(ctx context.Context) error { return r.second.Export(ctx, r.disks) })
	r.cut("take over", func(ctx context.Context) error { return r.to.TakeOver(ctx, r.origins(0)) })
	is(t, r.to, hypervisor.Running)
	counting(t, r.to.Console(), 1)
	r.ready()
	r.cut("settle", func(ctx context.Context) error { return r.to.Settle(ctx, r.same) })
	is(t, r.to, hypervisor.Running)
	counting(t, r.to.Console(), 1)
	if h := r.hydration(); !h.Settled {
		t.Errorf("after Settle: %+v", h)
	}
	r.cut("revoke", func(ctx context.Context) error { return r.second.Revoke(ctx) })
	r.counts()
}

// cutStep is by how much later an attempt is cut off than the one before.
const cutStep = 2 * time.Millisecond

func (r *trip) cut(what string, do func(context.Context) error) {
	r.t.Helper()
	for within := cutStep; ; within += within/8 + cutStep {
		ctx, cancel := context.WithTimeout(r.t.Context(), within)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if within > wait {
			r.t.Fatalf("%s: %v", what, err)
		}
		r.from, r.to = r.a.again(r.from), r.b.again(r.to)
	}
}
