package host

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// figure is a guest that can be held still and does nothing else, so that time
// in a test can be made to pass.
type figure struct {
	hypervisor.Mover
	stands, settled atomic.Bool
	leaves          func() error // what becomes of the disks; nil: they leave their origin
}

func (f *figure) Settle(ctx context.Context, whole func(context.Context) error) error {
	if f.settled.Load() {
		return nil
	}
	f.stands.Store(true)
	defer f.stands.Store(false)
	err := whole(ctx)
	if err == nil && f.leaves != nil {
		return f.leaves()
	}
	f.settled.Store(err == nil)
	return err
}

func (f *figure) Hydration(context.Context) (hypervisor.Hydration, error) {
	return hypervisor.Hydration{Ready: true, Settled: f.settled.Load(), Leaving: f.settled.Load()}, nil
}

func (f *figure) PID() int                                        { return 1 }
func (f *figure) Console() string                                 { return "" }
func (f *figure) State(context.Context) (hypervisor.State, error) { return hypervisor.Running, nil }
func (f *figure) Changed() <-chan struct{}                        { return nil }
func (f *figure) Close() error                                    { return nil }

// held is an agent whose machine hydrates and was held still.
func held(t *testing.T) (*Agent, *machine, *figure) {
	t.Helper()
	a, err := New(Config{Name: "a", Dir: t.TempDir(), Log: bustest.Log()})
	must(t, err)
	a.tasks = newTasks(t.Context())
	m, f := a.machine(web), &figure{}
	m.inst = f
	must(t, a.save(m, func(r *record) { *r = record{Instance: instance(5), Role: RoleHydrating, Origin: &TakeOver{}} }))
	_, err = a.holdStill(t.Context(), m, ref(5), nil)
	must(t, err)
	if !f.stands.Load() {
		t.Error("the guest does not stand")
	}
	return a, m, f
}

// A guest held still goes on by itself if the server dies meanwhile.
func TestHoldWithoutVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, m, f := held(t)
		time.Sleep(holdMax - time.Millisecond)
		synctest.Wait()
		if !f.stands.Load() {
			t.Error("the guest goes on before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if f.stands.Load() || f.settled.Load() {
			t.Errorf("stands %v, settled %v", f.stands.Load(), f.settled.Load())
		}
		_, err := a.verdict(t.Context(), m, Verdict{ref(5), true}, nil)
		refused(t, err, droveway.Unavailable, "is not held still any more: hold it again")
		if m.rec.Role != RoleHydrating || f.settled.Load() {
			t.Errorf("role %s, settled %v: a late verdict counts", m.rec.Role, f.settled.Load())
		}
		if _, err := a.holdStill(t.Context(), m, ref(5), nil); err != nil || !f.stands.Load() {
			t.Errorf("held again: %v", err)
		}
		if o, err := a.verdict(t.Context(), m, Verdict{ref(5), true}, nil); err != nil || o.Role != RoleHome || !f.settled.Load() {
			t.Errorf("%+v, %v", o, err)
		}
		a.tasks.wait.Wait()
	})
}

// Each question during the hold is answered; it is one hold.
func TestHoldEndsWithTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, m, f := held(t)
		time.Sleep(holdMax - time.Second)
		if _, err := a.holdStill(t.Context(), m, ref(5), nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if f.stands.Load() {
			t.Error("asking again lets the guest stand for longer")
		}
		a.tasks.wait.Wait()
	})
}

func TestVerdictThatDisksDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, m, f := held(t)
		o, err := a.verdict(t.Context(), m, Verdict{ref(5), false}, nil)
		if err != nil || o.Role != RoleHydrating || f.settled.Load() || f.stands.Load() {
			t.Errorf("%+v, %v, settled %v, stands %v", o, err, f.settled.Load(), f.stands.Load())
		}
		if m.rec.Origin == nil {
			t.Error("the origin is forgotten")
		}
		a.tasks.wait.Wait()
	})
}

// An agent that ends lets the guest go on; the next one holds it anew.
func TestHoldEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	p, ctx := newPair(t), t.Context()
	p.takeOver(1)
	p.mirrors()
	_, err := p.Hold(ctx, "b", ref(atTarget))
	must(t, err)
	p.b.is(RoleHydrating, hypervisor.Paused)
	p.b.stop()
	if s, err := p.b.guest().State(ctx); err != nil || s != hypervisor.Running {
		t.Errorf("state %s, %v", s, err)
	}
	p.b.start()
	_, err = p.Verdict(ctx, "b", Verdict{ref(atTarget), true})
	refused(t, err, droveway.Unavailable, "hold it again")
	_, err = p.Hold(ctx, "b", ref(atTarget))
	must(t, err)
	_, err = p.Verdict(ctx, "b", Verdict{ref(atTarget), true})
	must(t, err)
	p.b.is(RoleHome, hypervisor.Running)
}

// found is what the next agent of a host sees of the machine, whose instance died with
// this one.
func found(t *testing.T, a *Agent) Observed {
	t.Helper()
	next, err := New(Config{Name: "a", Dir: a.cfg.Dir, Driver: mem.New(), Log: bustest.Log()})
	must(t, err)
	next.tasks = newTasks(t.Context())
	must(t, next.adopt(t.Context()))
	return next.observe(t.Context(), next.machine(web))
}

// A host that dies right after the disks have left their origin had the guest's last
// writes alone: the machine is its, although it could not note so. One that dies
// before has nothing that the origin has not. SYSTEMS 6.7
func TestHostDiesAtTheVerdict(t *testing.T) {
	t.Parallel()
	broken := droveway.Errorf(droveway.Unavailable, "broken")
	for name, c := range map[string]struct {
		leaves func(*Agent, *figure) error
		want   Role
	}{
		"after they left": {func(a *Agent, f *figure) error {
			f.settled.Store(true)
			a.records.dir = a.cfg.Dir + "/none" // nothing more can be noted
			return nil
		}, RoleHome},
		"while they leave": {func(a *Agent, _ *figure) error {
			a.records.dir = a.cfg.Dir + "/none"
			return broken
		}, RoleHome},
		"after they could not leave": {func(*Agent, *figure) error { return broken }, RoleHydrating},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, m, f := held(t)
				f.leaves = func() error { return c.leaves(a, f) }
				if _, err := a.verdict(t.Context(), m, Verdict{ref(5), true}, nil); err == nil {
					t.Error("the verdict was carried out")
				}
				a.tasks.wait.Wait()
				if o := found(t, a); o.Role != c.want || o.Instance != hypervisor.Gone {
					t.Errorf("the next agent sees it as %s, its instance %s; want %s", o.Role, o.Instance, c.want)
				}
			})
		})
	}
}

// A verdict that cannot be noted is not carried out: the guest goes on with its origin.
func TestVerdictThatCannotBeNoted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, m, f := held(t)
		dir := a.records.dir
		a.records.dir = dir + "/none"
		if _, err := a.verdict(t.Context(), m, Verdict{ref(5), true}, nil); err == nil || f.settled.Load() {
			t.Errorf("%v, settled %t", err, f.settled.Load())
		}
		time.Sleep(holdMax)
		a.tasks.wait.Wait()
		a.records.dir = dir
		if o := found(t, a); f.settled.Load() || o.Role != RoleHydrating {
			t.Errorf("settled %t, the next agent sees it as %s", f.settled.Load(), o.Role)
		}
	})
}

// An agent that dies once it has noted that the disks are equal leaves it to the next
// one to find out whether they have left their origin. That does not wait for an order:
// if the guest goes on with its origin, and dies, its disks are there. SYSTEMS 6.7
func TestProofIsReviewedByTheNextAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		left     bool
		now      Role
		onceDead Role
	}{
		"they have left":     {true, RoleHome, RoleHome},
		"they have not left": {false, RoleHydrating, RoleHydrating},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ctx := newPair(t), t.Context()
			p.takeOver(1)
			p.mirrors()
			p.b.stop()
			m := p.b.machine(web)
			must(t, p.b.save(m, func(r *record) { r.Proved = true }))
			if c.left {
				must(t, p.b.guest().Settle(ctx, func(context.Context) error { return nil }))
			}
			p.b.start()
			eventually(t, "the proof is reviewed", func() bool { return !p.b.machine(web).record().Proved })
			p.b.is(c.now, hypervisor.Running)
			p.b.driver.Kill(web)
			p.b.is(c.onceDead, hypervisor.Gone)
		})
	}
}
