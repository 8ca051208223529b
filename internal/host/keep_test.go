package host

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// strict is a driver that, as one with processes of its own does, gives up what
// it is asked to do when the context has ended.
type strict struct{ *mem.Driver }

func (d strict) Secondary(ctx context.Context, spec hypervisor.SecondarySpec) (hypervisor.Secondary, error) {
	s, err := d.Driver.Secondary(ctx, spec)
	return strictSecondary{s}, err
}

func (d strict) AttachSecondary(ctx context.Context, h hypervisor.Handle) (hypervisor.Secondary, error) {
	s, err := d.Driver.AttachSecondary(ctx, h)
	return strictSecondary{s}, err
}

type strictSecondary struct{ hypervisor.Secondary }

func (s strictSecondary) Export(ctx context.Context, disks []hypervisor.Disk) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Secondary.Export(ctx, disks)
}

func beStrict(c *Config) { c.Driver = strict{c.Driver.(*mem.Driver)} }

// writes waits until the guest can write to its disk.
func (n *node) writes() {
	n.t.Helper()
	eventually(n.t, "the guest writes", func() bool { return n.guest().Write("root", 8192, []byte("x")) == nil })
	if s, err := n.guest().State(n.t.Context()); err != nil || s != hypervisor.Running {
		n.t.Errorf("state %s, %v", s, err)
	}
}

// A secondary that dies is replaced at its address, and a guest that an error of
// its disk stopped meanwhile is set going again; as often as that happens.
func TestSecondaryThatDies(t *testing.T) {
	t.Parallel()
	p := newPair(t, beStrict)
	p.takeOver(1)
	address := p.a.machine(web).record().Export
	for range 2 {
		m := p.a.lock(web) // keeps the guard waiting
		m.serving().(strictSecondary).Secondary.(*mem.Secondary).Kill()
		if p.b.guest().Write("root", 4096, []byte("x")) == nil {
			t.Error("a write without an origin succeeded")
		}
		m.mu.Unlock()
		p.b.writes()
		if now := p.a.machine(web).record().Export; now != address {
			t.Errorf("served at %s, before at %s", now, address)
		}
	}
	p.mirrors()
}

// The same while no agent looked; the next one sees to it.
func TestSecondaryThatDiedBefore(t *testing.T) {
	t.Parallel()
	p := newPair(t, beStrict)
	p.takeOver(1)
	address := p.a.machine(web).record().Export
	p.a.stop()
	p.a.driver.Kill(web)
	p.a.start()
	p.b.writes()
	if now := p.a.machine(web).record().Export; now != address {
		t.Errorf("served at %s, before at %s", now, address)
	}
}

// A new secondary that cannot open the disks yet is given another try.
func TestSecondaryThatCannotOpenTheDisks(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.takeOver(1)
	p.a.driver.Fail("Export", droveway.Errorf(droveway.Unavailable, "not now"))
	old := p.a.machine(web).serving()
	old.(*mem.Secondary).Kill()
	eventually(t, "another secondary is there", func() bool { return p.a.machine(web).serving() != old })
	p.a.driver.Fail("Export", nil)
	p.b.writes()
}

// While a machine's disks are served, an order to prepare that comes again must
// not move them to another address.
func TestPrepareAgainAfterADeath(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	address := p.handover(1)
	p.a.machine(web).serving().(*mem.Secondary).Kill()
	e, err := p.Secondary(t.Context(), "a", Secondary{Ref: ref(atSource), Peer: "b"})
	must(t, err)
	if e.Address != address || !p.a.machine(web).serves(t.Context()) {
		t.Errorf("served at %s, before at %s", e.Address, address)
	}
}

// stands is a guest that stands, for a reason that its state tells.
type stands struct {
	hypervisor.Mover
	state   hypervisor.State
	paused  bool // its copy
	resumed int
}

func (s *stands) State(context.Context) (hypervisor.State, error) { return s.state, nil }

func (s *stands) Hydration(context.Context) (hypervisor.Hydration, error) {
	return hypervisor.Hydration{Settled: !s.paused, Paused: s.paused}, nil
}

func (s *stands) Resume(context.Context) error { s.resumed++; return nil }

// agentOf is an agent without a bus that has a machine in a role, and logs to b.
func agentOf(t *testing.T, role Role, b io.Writer) (*Agent, *machine) {
	t.Helper()
	a, err := New(Config{Name: "a", Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(b, nil))})
	must(t, err)
	m := a.machine(web)
	must(t, a.save(m, func(r *record) { *r = record{Instance: instance(5), Role: role} }))
	return a, m
}

// Where the guest is the host's to run, an error of its disk is tried again until
// it is over.
func TestNudge(t *testing.T) {
	t.Parallel()
	for role, want := range map[Role]int{RoleHome: 1, RoleLeaving: 1, RoleHydrating: 1, RoleArriving: 0, RoleSecondary: 0, RoleIdle: 0} {
		a, m := agentOf(t, role, io.Discard)
		s := &stands{state: hypervisor.Stuck}
		if again := a.nudge(t.Context(), m, s, &diskWait{}); s.resumed != want || (again != nil) != (want > 0) {
			t.Errorf("%s: set going %d times, want %d; looked at again: %t", role, s.resumed, want, again != nil)
		}
	}
}

// A guest that has crashed waits for no disk; its copy may.
func TestNudgeOfACrashedGuest(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		a, m := agentOf(t, RoleHydrating, io.Discard)
		s := &stands{state: hypervisor.Crashed, paused: paused}
		if again := a.nudge(t.Context(), m, s, &diskWait{}); (s.resumed > 0) != paused || (again != nil) != paused {
			t.Errorf("copy paused %t: set going %d times; looked at again: %t", paused, s.resumed, again != nil)
		}
	}
}

// One wait is one line of the log, however often the disk is tried; a moment is none.
func TestWaitIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a, m := agentOf(t, RoleHome, &log)
		s, w := &stands{}, diskWait{}
		const stuck, runs = hypervisor.Stuck, hypervisor.Running
		for _, s.state = range []hypervisor.State{stuck, runs, stuck, stuck, stuck, stuck, runs, runs, stuck, stuck, stuck} {
			_ = a.nudge(t.Context(), m, s, &w)
			time.Sleep(nudgeEvery / 2)
		}
		waits, answers := strings.Count(log.String(), "waits for its disk"), strings.Count(log.String(), "answers again")
		if waits != 2 || answers != 1 || s.resumed != 8 {
			t.Errorf("logged %d waits and %d ends, tried %d times:\n%s", waits, answers, s.resumed, &log)
		}
	})
}

// settles is a guest whose disks have all their bytes.
type settles struct {
	stands
	asked int
}

func (s *settles) Hydration(context.Context) (hypervisor.Hydration, error) {
	return hypervisor.Hydration{Ready: true}, nil
}

func (s *settles) Settle(context.Context, func(context.Context) error) error {
	s.asked++
	return droveway.Errorf(droveway.Unavailable, "a disk cannot be flushed")
}

// An agent that died while it held a guest still, for its disks to leave their origin,
// leaves it paused: the next one ends that, and tries again in a while, not at once.
func TestHeldForItsDisks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, m := agentOf(t, RoleHome, io.Discard)
		i := instance(5)
		i.Disks[0].Origin = &Origin{Name: "far"}
		must(t, a.save(m, func(r *record) { r.Instance = i }))
		s, w := &settles{stands: stands{state: hypervisor.Paused}}, diskWait{}
		for range 4 {
			if again := a.nudge(t.Context(), m, s, &w); again == nil {
				t.Fatal("it is not looked at again")
			}
		}
		if s.asked != 1 {
			t.Errorf("tried %d times at once", s.asked)
		}
		time.Sleep(nudgeEvery)
		if _ = a.nudge(t.Context(), m, s, &w); s.asked != 2 {
			t.Errorf("tried %d times", s.asked)
		}
	})
}

// A guest that stands for another reason than its disk stays so.
func TestNudgeIsForDisksOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	must(t, n.guest().Pause(t.Context()))
	n.restart()
	n.is(RoleHome, hypervisor.Paused)
}

// SYSTEMS 6.12: the rate that was ordered last is in the record, and a copy that
// begins anew after an error has it again.
func TestResumedCopyKeepsItsRate(t *testing.T) {
	t.Parallel()
	const rate = 64 << 10
	p := newPair(t)
	ctx := t.Context()
	d := TakeOver{Ref: ref(atTarget), Address: p.handover(1), Peer: "a", Rate: rate / 2}
	_, err := p.TakeOver(ctx, "b", d)
	must(t, err)
	_, err = p.Rate(ctx, "b", Rate{ref(atTarget), rate})
	must(t, err)
	p.b.restart()
	if o := p.b.machine(web).record().Origin; o == nil || o.Rate != rate || o.Address != d.Address {
		t.Fatalf("the record has origin %+v", o)
	}
	_, err = p.Rate(ctx, "b", Rate{ref(atTarget), -1})
	refused(t, err, droveway.Invalid, "0, which is no limit, or more")
	g := &forgetful{Instance: p.b.guest(), rate: rate}
	must(t, p.b.resume(ctx, p.b.machine(web), g))
	if g.rate != rate {
		t.Errorf("the copy goes on at a rate of %d, want %d", g.rate, rate)
	}
}

// forgetful is an instance whose copies begin anew without a limit.
type forgetful struct {
	*mem.Instance
	rate int64
}

func (f *forgetful) Resume(context.Context) error {
	f.rate = 0
	return nil
}

func (f *forgetful) SetRate(_ context.Context, rate int64) error {
	f.rate = rate
	return nil
}
