package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// leave ends the guest and serves its disks: what a handover is to a machine
// that moves with its memory, leave is to one that boots anew elsewhere.
func (a *Agent) leave(ctx context.Context, m *machine, s Stop, _ *task) (Exported, error) {
	if err := m.must(verbLeave, RoleHome, RoleIdle, RoleSecondary); err != nil {
		return Exported{}, err
	}
	if m.rec.Role != RoleSecondary {
		if err := a.unchanged(m); err != nil {
			return Exported{}, err
		}
	}
	if inst := m.instance(); inst != nil && m.rec.Role == RoleHome {
		if err := inst.Stop(ctx, s.Grace); err != nil {
			return Exported{}, fmt.Errorf("stop machine %s: %w", m.name, err)
		}
		m.drop()
	}
	if err := a.save(m, func(r *record) { r.Role, r.Handle, r.Exported = RoleSecondary, nil, true }); err != nil {
		return Exported{}, err
	}
	if err := a.export(ctx, m); err != nil {
		return Exported{}, err
	}
	vars, err := a.giveVars(&m.rec.Instance)
	return Exported{Address: m.rec.Export, Vars: vars}, err
}

// probe waits until the guest gives a sign of life: each of its network cards
// answers for its address. A guest without one shows that it boots by what it
// writes to its console; that it goes on, only its hypervisor can say. It may take
// minutes, or never come: the machine can move or stop meanwhile.
func (a *Agent) probe(ctx context.Context, m *machine, p Probe) (Observed, error) {
	rec := m.record()
	if err := rec.must(verbProbe, RoleHome, RoleHydrating); err != nil {
		return Observed{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Within)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go endWith(ctx, m.instance(), func() { end(noInstance(m.name)) })
	err := a.alive(ctx, m, p.Boots)
	if cause := context.Cause(ctx); errors.Is(cause, errNoInstance) {
		return Observed{}, cause // nobody will give a sign any more
	}
	if err != nil {
		return Observed{}, droveway.Errorf(droveway.Conflict, "machine %s gave no sign of life within %s: %w", m.name, p.Within, err)
	}
	return a.observe(ctx, m), nil
}

// endWith calls end if the instance ends before ctx does.
func endWith(ctx context.Context, inst hypervisor.Instance, end func()) {
	for inst != nil {
		changed := inst.Changed()
		if s, err := inst.State(ctx); err == nil && s == hypervisor.Gone {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
	end()
}

func (a *Agent) alive(ctx context.Context, m *machine, boots bool) error {
	nics := m.record().Instance.NICs
	if a.cfg.Fabric == nil || len(nics) == 0 {
		return a.runs(ctx, m, boots)
	}
	for _, c := range nics {
		if err := a.cfg.Fabric.Probe(ctx, c.Network.VNI, c.MAC, c.Address.Addr()); err != nil {
			return err
		}
	}
	return nil
}

const speakEvery = 50 * time.Millisecond

// runs waits for the guest to run and, if it boots, to have written to its
// console.
func (a *Agent) runs(ctx context.Context, m *machine, boots bool) error {
	tick := time.NewTicker(speakEvery)
	defer tick.Stop()
	for {
		c, err := a.console(ctx, Console{Machine: m.name})
		if o := a.observe(ctx, m); err == nil && (!boots || len(c.Data) > 0) && o.Instance == hypervisor.Running {
			return nil
		}
		select {
		case <-ctx.Done():
			return droveway.Errorf(droveway.Unavailable, "its console is silent")
		case <-tick.C:
		}
	}
}
