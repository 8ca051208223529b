package host

import (
	"context"
	"fmt"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// welcome makes, on the host that serves a machine's disks, an instance that
// waits for the machine's memory to come back. The stale instance makes room for
// it; the disks are served on.
func (a *Agent) welcome(ctx context.Context, m *machine, v Reserve, _ *task) (Reserved, error) {
	if err := m.must(verbWelcome, RoleSecondary); err != nil {
		return Reserved{}, err
	}
	s, err := m.state(ctx)
	if err != nil {
		return Reserved{}, err
	}
	if m.ready(s, v.Token) {
		return Reserved{Address: m.rec.Listen}, nil
	}
	if err := m.kill(ctx); err != nil {
		return Reserved{}, err
	}
	a.removeDir(a.instanceDir(&m.rec.Instance))
	if err := a.save(m, func(r *record) { r.Instance, r.Peer, r.Handle, r.Listen = v.Instance, v.Peer, nil, "" }); err != nil {
		return Reserved{}, err
	}
	if err := a.run(ctx, m, forMemory); err != nil {
		return Reserved{}, err
	}
	listen, err := a.listen(ctx, m)
	return Reserved{Address: listen}, err
}

// unwelcome ends, on the host that serves a machine's disks, the instance that waits
// for memory which does not come, or is not wanted: the other host said that the
// guest goes on there. The disks are served on.
func (a *Agent) unwelcome(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if err := m.must(verbUnwelcome, RoleSecondary); err != nil {
		return Observed{}, err
	}
	s, err := m.state(ctx)
	if err != nil {
		return Observed{}, err
	}
	switch s {
	case hypervisor.Incoming, hypervisor.Received, hypervisor.Sent, hypervisor.Gone:
	default:
		return Observed{}, droveway.Errorf(droveway.Conflict, "machine %s has come back here: its instance is %s", m.name, s)
	}
	if err := m.kill(ctx); err != nil {
		return Observed{}, err
	}
	a.removeDir(a.instanceDir(&m.rec.Instance))
	if err := a.save(m, func(r *record) { r.Handle, r.Listen = nil, "" }); err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}

// giveBack ends a machine here whose memory is held back on its way home. Its
// disks are left as they are: the origin has all that they have.
func (a *Agent) giveBack(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if m.rec.Role == RoleReturned {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbGiveBack, RoleHydrating); err != nil {
		return Observed{}, err
	}
	mv, err := m.mover()
	if err != nil {
		return Observed{}, err
	}
	if _, err := mv.Handover(ctx); err != nil {
		return Observed{}, fmt.Errorf("give machine %s back: %w", m.name, err)
	}
	a.forward(m)
	if err := a.save(m, func(r *record) { r.Role, r.Origin = RoleReturned, nil }); err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}

// home lets the guest that has come back run with its own disks. First nobody
// else may use them any more.
func (a *Agent) home(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if m.rec.Role == RoleHome {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbHome, RoleSecondary); err != nil {
		return Observed{}, err
	}
	mv, err := m.mover()
	if err != nil {
		return Observed{}, err
	}
	s, err := mv.State(ctx)
	if err != nil {
		return Observed{}, err
	}
	if s == hypervisor.Gone || s == hypervisor.Sent || s == hypervisor.Incoming {
		return Observed{}, droveway.Errorf(droveway.Conflict, "machine %s has not come back here: its instance is %s", m.name, s)
	}
	if err := a.endSecondary(ctx, m); err != nil {
		return Observed{}, err
	}
	a.announce(ctx, m) // what comes for the guest from now on waits here for it
	if err := mv.TakeOver(ctx, nil); err != nil {
		return Observed{}, fmt.Errorf("let machine %s go on: %w", m.name, err)
	}
	if err := a.save(m, func(r *record) { r.Role, r.Listen = RoleHome, "" }); err != nil {
		return Observed{}, err
	}
	a.announce(ctx, m)
	return a.observe(ctx, m), nil
}
