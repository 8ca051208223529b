package host

import (
	"slices"
	"testing"

	"github.com/droveway/droveway/internal/hypervisor"
)

// The tokens of the instances of a move, on its source and on its target, and
// of the one that comes back.
const (
	atSource = 5
	atTarget = 6
	atHome   = 7
)

// pair is two hosts and a machine that runs on the first.
type pair struct {
	*rig
	a, b *node
}

func newPair(t *testing.T, edit ...func(*Config)) *pair {
	t.Helper()
	r := newRig(t)
	p := &pair{r, r.host("a", edit...), r.host("b", edit...)}
	p.a.runs(atSource)
	must(t, p.a.guest().Write("root", 512, []byte("written before")))
	return p
}

// each calls a command several times and checks that the answers agree.
func each[T comparable](t *testing.T, times int, fn func() (T, error)) (first T) {
	t.Helper()
	for i := range times {
		v, err := fn()
		must(t, err)
		if i == 0 {
			first = v
		}
		if v != first {
			t.Errorf("the answer to call %d is %+v, the first was %+v", i+1, v, first)
		}
	}
	return first
}

// observed drops from an answer what may differ between two.
func observed(o Observed, err error) (string, error) {
	return string(o.Role) + " " + string(o.Instance), err
}

func (p *pair) reserve(times int) Reserved {
	p.t.Helper()
	return each(p.t, times, func() (Reserved, error) {
		return p.Reserve(p.t.Context(), "b", Reserve{Instance: instance(atTarget), Peer: "a"})
	})
}

// send brings the source to where its memory is held.
func (p *pair) send(times int) (disks string) {
	p.t.Helper()
	ctx := p.t.Context()
	memory := p.reserve(times)
	e := each(p.t, times, func() (Exported, error) { return p.Secondary(ctx, "a", Secondary{Ref: ref(atSource), Peer: "b"}) })
	for range times {
		_, err := p.Send(ctx, "a", Send{Ref: ref(atSource), To: memory.Address, Peer: "b"})
		must(p.t, err)
	}
	p.held("a", atSource)
	return e.Address
}

func (p *pair) held(host string, token uint64) {
	p.t.Helper()
	eventually(p.t, "the memory is held", func() bool {
		m, err := p.Await(p.t.Context(), host, ref(token))
		must(p.t, err)
		return m.State == hypervisor.Held
	})
}

// handover ends the source's instance.
func (p *pair) handover(times int) (disks string) {
	p.t.Helper()
	prepared := p.send(times)
	e := each(p.t, times, func() (Exported, error) { return p.Handover(p.t.Context(), "a", Handover{Ref: ref(atSource)}) })
	if e.Address != prepared {
		p.t.Errorf("the disks are served at %s and not, as prepared, at %s", e.Address, prepared)
	}
	return e.Address
}

// takeOver lets the guest run on the target.
func (p *pair) takeOver(times int) {
	p.t.Helper()
	t := TakeOver{Ref: ref(atTarget), Address: p.handover(times), Peer: "a"}
	each(p.t, times, func() (string, error) { return observed(p.TakeOver(p.t.Context(), "b", t)) })
}

// mirrors waits until the target's disks have all that their origin has.
func (p *pair) mirrors() {
	p.t.Helper()
	eventually(p.t, "the disks are mirrors", func() bool {
		h, err := p.Hydration(p.t.Context(), "b", ref(atTarget))
		must(p.t, err)
		return h.Ready
	})
}

// SYSTEMS 1.5: a move in which every command is given twice is one move.
func TestMoveWithEveryCommandTwice(t *testing.T) {
	t.Parallel()
	p, ctx := newPair(t), t.Context()
	p.takeOver(2)
	g := p.b.guest()
	must(t, g.Write("root", 4096, []byte("written after")))
	p.mirrors()
	p.b.is(RoleHydrating, hypervisor.Running)
	p.a.is(RoleSecondary, hypervisor.Sent)
	all := Sums{Disk: "root", Chunks: []int64{0}}
	all.Ref = ref(atSource)
	have, err := p.Sums(ctx, "a", all)
	must(t, err)
	each(t, 2, func() (string, error) { return observed(p.Hold(ctx, "b", ref(atTarget))) })
	p.b.is(RoleHydrating, hypervisor.Paused)
	all.Ref = ref(atTarget)
	want, err := p.Sums(ctx, "b", all)
	must(t, err)
	if !slices.Equal(have, want) {
		t.Error("the disks differ")
	}
	each(t, 2, func() (string, error) {
		return observed(p.Verdict(ctx, "b", Verdict{Ref: ref(atTarget), Equal: true}))
	})
	each(t, 2, func() (string, error) { return observed(p.Release(ctx, "a", ref(atSource))) })
	p.b.is(RoleHome, hypervisor.Running)
	p.a.is(RoleNone, hypervisor.Gone)
	p.a.holds("volumes")
	p.a.holds("instances")
	b := make([]byte, 13)
	must(t, g.Read("root", 4096, b))
	if string(b) != "written after" {
		t.Errorf("read %q", b)
	}
}

// The way back: as above, but the move is called off when the disks follow.
func TestWayBackWithEveryCommandTwice(t *testing.T) {
	t.Parallel()
	p, ctx := newPair(t), t.Context()
	p.takeOver(2)
	must(t, p.b.guest().Write("root", 4096, []byte("written there")))
	memory := p.welcome(2)
	for range 2 {
		_, err := p.Send(ctx, "b", Send{Ref: ref(atTarget), To: memory.Address, Peer: "a"})
		must(t, err)
	}
	p.held("b", atTarget)
	each(t, 2, func() (string, error) { return observed(p.GiveBack(ctx, "b", ref(atTarget))) })
	p.b.is(RoleReturned, hypervisor.Sent)
	back := p.a.guest()
	p.welcome(1)
	if p.a.guest() != back {
		t.Fatal("a repeated welcome ended the instance that has the memory")
	}
	each(t, 2, func() (string, error) { return observed(p.Home(ctx, "a", ref(atHome))) })
	each(t, 2, func() (string, error) { return observed(p.Discard(ctx, "b", ref(atTarget))) })
	p.a.is(RoleHome, hypervisor.Running)
	p.b.is(RoleNone, hypervisor.Gone)
	p.b.holds("volumes")
	p.b.holds("instances")
	p.a.holds("instances", "web.7")
	b := make([]byte, 13)
	must(t, back.Read("root", 4096, b))
	if string(b) != "written there" {
		t.Errorf("read %q", b)
	}
}

func (p *pair) welcome(times int) Reserved {
	p.t.Helper()
	return each(p.t, times, func() (Reserved, error) {
		return p.Welcome(p.t.Context(), "a", Reserve{Instance: instance(atHome), Peer: "b"})
	})
}

// The target has the only whole copy of the memory from the handover on.
func TestReserveKeepsTheMemoryThatArrived(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.handover(1)
	g := p.b.guest()
	p.reserve(2)
	if p.b.guest() != g {
		t.Error("a repeated reserve ended the instance that has the memory")
	}
	p.b.is(RoleArriving, hypervisor.Received)
}

// A later move reserves anew: what an earlier one left waits for nobody.
func TestReserveOfALaterMove(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	old := p.reserve(1)
	g := p.b.guest()
	later, err := p.Reserve(t.Context(), "b", Reserve{Instance: instance(atTarget + 1), Peer: "a"})
	must(t, err)
	if p.b.guest() == g || later == old {
		t.Error("the instance of the earlier move waits on")
	}
	if o := p.b.is(RoleArriving, hypervisor.Incoming); o.Token != atTarget+1 {
		t.Errorf("token %d", o.Token)
	}
	p.b.holds("instances", "web.7")
}

func TestCancelTwice(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	g := p.a.guest()
	p.send(1)
	each(t, 2, func() (string, error) { return observed(p.Cancel(t.Context(), "a", ref(atSource))) })
	each(t, 2, func() (string, error) { return observed(p.Discard(t.Context(), "b", ref(atTarget))) })
	p.a.is(RoleHome, hypervisor.Running)
	if p.a.guest() != g {
		t.Error("the guest is another one")
	}
	p.a.holds("instances", "web.5")
	p.b.holds("volumes")
	p.b.holds("instances")
}

// A machine that boots anew elsewhere: leave, and what takes it back.
func TestLeaveAndRevokeTwice(t *testing.T) {
	t.Parallel()
	p, ctx := newPair(t), t.Context()
	for range 2 { // there and back again, and once more
		each(t, 2, func() (Exported, error) { return p.Leave(ctx, "a", Stop{Ref: ref(atSource)}) })
		p.a.is(RoleSecondary, hypervisor.Gone)
		each(t, 2, func() (string, error) { return observed(p.Revoke(ctx, "a", ref(atSource))) })
		p.a.is(RoleIdle, hypervisor.Gone)
	}
	_, err := p.Start(ctx, "a", instance(atSource+1))
	must(t, err)
	b := make([]byte, 14)
	must(t, p.a.guest().Read("root", 512, b))
	if string(b) != "written before" {
		t.Errorf("read %q", b)
	}
}

func TestRevokeRefusesAGuestThatRuns(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.send(1)
	_, err := p.Revoke(t.Context(), "a", ref(atSource))
	refused(t, err, "conflict", "still runs here: cancel its move instead")
	p.a.is(RoleLeaving, hypervisor.Held)
}

// A secondary that was prepared for another host would refuse this one.
func TestSecondaryForAnotherHost(t *testing.T) {
	t.Parallel()
	p, ctx := newPair(t), t.Context()
	first, err := p.Secondary(ctx, "a", Secondary{Ref: ref(atSource), Peer: "gone"})
	must(t, err)
	second, err := p.Secondary(ctx, "a", Secondary{Ref: ref(atSource), Peer: "b"})
	must(t, err)
	if first == second || p.a.machine(web).record().Peer != "b" {
		t.Error("the secondary serves the host of an earlier move")
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate  int64
		disks int
		want  int64
	}{{0, 3, 0}, {9, 1, 9}, {9, 3, 3}, {1, 3, 1}} {
		if got := share(c.rate, c.disks); got != c.want {
			t.Errorf("of %d bytes a second each of %d disks gets %d, want %d", c.rate, c.disks, got, c.want)
		}
	}
}
