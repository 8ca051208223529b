package host

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// again restarts both agents and checks that each has what it had.
func (p *pair) again() {
	p.t.Helper()
	for _, n := range []*node{p.a, p.b} {
		was, err := p.Show(p.t.Context(), n.cfg.Name, web)
		must(p.t, err)
		guest := n.driver.Guest(web)
		serving := n.machine(web).serving()
		n.restart()
		now, err := p.Show(p.t.Context(), n.cfg.Name, web)
		must(p.t, err)
		was.At = now.At
		if now != was {
			p.t.Errorf("host %s: %+v, it was %+v", n.cfg.Name, now, was)
		}
		if n.driver.Guest(web) != guest || guest != nil && n.machine(web).instance() != hypervisor.Instance(guest) {
			p.t.Errorf("host %s: the guest is another one", n.cfg.Name)
		}
		if n.machine(web).serving() != serving {
			p.t.Errorf("host %s: the secondary is another one", n.cfg.Name)
		}
	}
}

// SYSTEMS 1.4: in every role the next agent adopts what runs, and the move goes
// on with it.
func TestAdoptInEveryRole(t *testing.T) {
	t.Parallel()
	p, ctx := newPair(t), t.Context()
	p.again() // home, none
	disks := p.send(1)
	p.again() // leaving, arriving
	if again := p.send(1); again != disks {
		t.Errorf("served at %s, before at %s", again, disks)
	}
	e, err := p.Handover(ctx, "a", Handover{Ref: ref(atSource)})
	must(t, err)
	p.again() // secondary, arriving with the memory
	over := TakeOver{Ref: ref(atTarget), Address: e.Address, Peer: "a"}
	_, err = p.TakeOver(ctx, "b", over)
	must(t, err)
	p.again() // secondary, hydrating
	must(t, p.b.guest().Write("root", 4096, []byte("x")))
	_, err = p.TakeOver(ctx, "b", over)
	must(t, err)
	memory := p.welcome(1)
	p.again()
	if again := p.welcome(1); again != memory {
		t.Errorf("waits at %s, before at %s", again.Address, memory.Address)
	}
	_, err = p.Send(ctx, "b", Send{Ref: ref(atTarget), To: memory.Address, Peer: "a"})
	must(t, err)
	p.held("b", atTarget)
	_, err = p.GiveBack(ctx, "b", ref(atTarget))
	must(t, err)
	p.again() // secondary with the memory, returned
	_, err = p.Home(ctx, "a", ref(atHome))
	must(t, err)
	p.again() // home
	_, err = p.Stop(ctx, "a", Stop{Ref: ref(atHome)})
	must(t, err)
	p.again() // idle
	p.a.is(RoleIdle, hypervisor.Gone)
}

// A guest that died while no agent looked is gone, and can be started again.
func TestAdoptWhatDied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	n.stop()
	n.driver.Kill(web)
	n.start()
	n.is(RoleHome, hypervisor.Gone)
	_, err := r.Start(t.Context(), "a", instance(6))
	must(t, err)
	n.is(RoleHome, hypervisor.Running)
	n.holds("instances", "web.6")
}

// What a killed agent had started and not yet written down ends with the next
// one: nobody was told of it.
func TestWhatNobodyKnowsOfEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	_, err := r.Stop(t.Context(), "a", Stop{Ref: ref(5)})
	must(t, err)
	n.stop()
	m := n.machine(web)
	spec, err := n.spec(t.Context(), &m.rec.Instance, forNothing)
	must(t, err)
	_, err = n.driver.Start(t.Context(), spec)
	must(t, err)
	sec, err := n.driver.Secondary(t.Context(), hypervisor.SecondarySpec{Machine: web, Dir: n.secondaryDir(web), Listen: "127.0.0.1:0"})
	must(t, err)
	n.start()
	n.is(RoleIdle, hypervisor.Gone)
	if n.driver.Guest(web) != nil || sec.Alive(t.Context()) {
		t.Errorf("after the restart: guest %v, secondary alive: %t", n.driver.Guest(web), sec.Alive(t.Context()))
	}
}

// broken is a driver that cannot say what became of one machine.
type broken struct {
	*mem.Driver
	machine string
	no      *atomic.Bool
}

func (d broken) Attach(ctx context.Context, h hypervisor.Handle) (hypervisor.Instance, error) {
	i, err := d.Driver.Attach(ctx, h)
	if g := d.Guest(d.machine); d.no.Load() && g != nil && i == hypervisor.Instance(g) {
		return nil, droveway.Errorf(droveway.Invalid, "its handle is damaged")
	}
	return i, err
}

func (d broken) Sweep(ctx context.Context, dir string) error {
	if d.no.Load() && strings.HasPrefix(filepath.Base(dir), d.machine+".") {
		return droveway.Errorf(droveway.Unavailable, "a process does not end")
	}
	return d.Driver.Sweep(ctx, dir)
}

// What runs of a machine that cannot be adopted nobody knows: no command may touch it,
// or a guest would be started twice. The other machines are served, and it is adopted
// once that can be done.
func TestOneThatCannotBeAdopted(t *testing.T) {
	t.Parallel()
	for name, why := range map[string]string{"home": "its handle is damaged", "idle": "a process does not end"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx, no := newRig(t), t.Context(), &atomic.Bool{}
			n := r.host("a", func(c *Config) { c.Driver = broken{c.Driver.(*mem.Driver), "db", no} })
			t.Cleanup(func() { n.driver.Kill("db") })
			n.runs(5)
			db := instance(7)
			db.Machine = "db"
			_, err := r.Create(ctx, "a", db, nil)
			must(t, err)
			if name == "home" {
				_, err := r.Start(ctx, "a", db)
				must(t, err)
			}
			guest := n.driver.Guest("db")
			no.Store(true)
			n.restart()
			n.is(RoleHome, hypervisor.Running)
			o, err := r.Look(ctx, "a", "db")
			must(t, err)
			if o.Instance != "" || o.Token != 7 || !strings.Contains(o.Message, why) {
				t.Errorf("of the one that cannot be adopted: %+v", o)
			}
			_, err = r.Start(ctx, "a", db)
			refused(t, err, droveway.Unavailable, why)
			_, err = r.Remove(ctx, "a", Ref{"db", 7})
			refused(t, err, droveway.Unavailable, why)
			_, err = r.Hydration(ctx, "a", Ref{"db", 7})
			refused(t, err, droveway.Unavailable, why)
			_, err = r.Stop(ctx, "a", Stop{Ref: ref(5)})
			must(t, err) // of the other one
			no.Store(false)
			_, err = r.Start(ctx, "a", db)
			must(t, err)
			if now := n.driver.Guest("db"); guest != nil && now != guest || now == nil {
				t.Errorf("the guest is %v, it was %v", now, guest)
			}
		})
	}
}

// mute is a driver with a guest that runs and says nothing, as long as it is silent.
type mute struct {
	*mem.Driver
	silent *atomic.Bool
}

func (d mute) Attach(ctx context.Context, h hypervisor.Handle) (hypervisor.Instance, error) {
	i, err := d.Driver.Attach(ctx, h)
	if err == nil && i == hypervisor.Instance(d.Guest("db")) {
		return muteInstance{i, d.silent}, nil
	}
	return i, err
}

type muteInstance struct {
	hypervisor.Instance
	silent *atomic.Bool
}

func (i muteInstance) State(ctx context.Context) (hypervisor.State, error) {
	if !i.silent.Load() {
		return i.Instance.State(ctx)
	}
	<-ctx.Done()
	return "", droveway.Errorf(droveway.Unavailable, "no greeting: %w", context.Cause(ctx))
}

// A guest whose hypervisor answers nobody keeps the agent from nothing else: the host
// lives, its other guests are reported and commanded, and of that one it is said that
// nobody knows. Once it answers it is like any other, and if it never does it can be
// stopped.
func TestAdoptWhatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	n.t.Cleanup(func() { n.driver.Kill("db") })
	db := instance(7)
	db.Machine = "db"
	_, err := r.Create(ctx, "a", db, nil)
	must(t, err)
	_, err = r.Start(ctx, "a", db)
	must(t, err)
	n.runs(5)
	n.stop()
	var silent atomic.Bool
	silent.Store(true)
	n.cfg.Driver = mute{n.driver, &silent}
	n.start()
	if o, err := r.Show(ctx, "a", "db"); err != nil || o.Role != RoleHome || o.Instance != "" || !strings.Contains(o.Message, "does not answer") {
		t.Errorf("%+v, %v", o, err)
	}
	must(t, n.guest().Pause(ctx))
	r.reported(RoleHome, hypervisor.Paused)
	_, err = r.Stop(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	reports := store.NewTable[Observed](r.stores.Observed, "a.machine")
	eventually(t, "the server hears that nobody knows of the other", func() bool {
		o, _, err := reports.Get(ctx, "db")
		return err == nil && o.Instance == "" && o.Message != ""
	})
	silent.Store(false)
	eventually(t, "it answers", func() bool {
		o, _, err := reports.Get(ctx, "db")
		return err == nil && o.Instance == hypervisor.Running
	})
	silent.Store(true)
	o, err := r.Stop(ctx, "a", Stop{Ref: Ref{"db", 7}})
	if err != nil || o.Instance != hypervisor.Gone {
		t.Errorf("it cannot be stopped: %+v, %v", o, err)
	}
}

func TestProbeOfTheDriverFails(t *testing.T) {
	t.Parallel()
	d := mem.New()
	d.Fail("Probe", droveway.Errorf(droveway.Unsupported, "no such program"))
	a, err := New(Config{Name: "a", Dir: t.TempDir(), Driver: d, Log: bustest.Log()})
	must(t, err)
	refused(t, a.Run(context.WithoutCancel(t.Context())), droveway.Unsupported, "probe driver mem: no such program")
}
