package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// secondary starts the process that will serve the disks once the guest has
// left. It opens none of them yet.
func (a *Agent) secondary(ctx context.Context, m *machine, s Secondary, _ *task) (Exported, error) {
	if err := m.must(verbSecondary, RoleHome, RoleLeaving, RoleSecondary); err != nil {
		return Exported{}, err
	}
	if m.rec.Role == RoleSecondary { // at its address, where the target looks for it
		return Exported{Address: m.rec.Export}, a.export(ctx, m)
	}
	if err := a.unchanged(m); err != nil {
		return Exported{}, err
	}
	if sec := m.serving(); sec != nil && sec.Alive(ctx) && m.rec.Peer == s.Peer {
		return Exported{Address: sec.Address()}, nil
	}
	if err := a.endSecondary(ctx, m); err != nil { // it serves nobody, or another host
		return Exported{}, err
	}
	if err := a.save(m, func(r *record) { r.Peer = s.Peer }); err != nil {
		return Exported{}, err
	}
	if err := a.serve(ctx, m, a.cfg.Address.String()+":0"); err != nil {
		return Exported{}, err
	}
	return Exported{Address: m.rec.Export}, nil
}

// serve starts a secondary that listens at an address.
func (a *Agent) serve(ctx context.Context, m *machine, listen string) error {
	dir := a.secondaryDir(m.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	spec := hypervisor.SecondarySpec{Machine: m.name, Dir: dir, Listen: listen, Peer: m.rec.Peer, TLS: a.tls()}
	sec, err := a.restorer().Secondary(ctx, spec)
	if err != nil {
		return fmt.Errorf("serve the disks of machine %s: %w", m.name, err)
	}
	err = a.save(m, func(r *record) { r.Secondary, r.Export = sec.Handle(), sec.Address() })
	if err != nil {
		ctx, cancel := cleanUp(ctx)
		defer cancel()
		return errors.Join(err, sec.Stop(ctx))
	}
	m.setSecondary(sec, true)
	a.guard(m)
	return nil
}

// send begins to send memory.
func (a *Agent) send(ctx context.Context, m *machine, s Send, _ *task) (Observed, error) {
	if err := m.must(verbSend, RoleHome, RoleLeaving, RoleHydrating); err != nil {
		return Observed{}, err
	}
	if err := a.mustBeWhole(m); err != nil {
		return Observed{}, err
	}
	mv, err := m.mover()
	if err != nil {
		return Observed{}, err
	}
	if m.rec.Role != RoleHome {
		if p, err := mv.Sent(ctx); err != nil || p.State != hypervisor.Running {
			return a.observe(ctx, m), err // it is sending already
		}
	}
	if w, err := a.prepareMemory(ctx, m, s.Way); err != nil {
		return Observed{}, err
	} else if w != s.Way {
		return Observed{}, droveway.Missing("memory", "machine %s: host %s cannot send memory by %s, as the target waits for it", m.name, a.cfg.Name, s.Way)
	}
	if m.rec.Role == RoleHome {
		if err := a.save(m, func(r *record) { r.Role = RoleLeaving }); err != nil {
			return Observed{}, err
		}
	}
	if err := mv.Send(ctx, s.To, s.Peer, s.Rate); err != nil {
		return Observed{}, fmt.Errorf("send memory of machine %s: %w", m.name, err)
	}
	return a.observe(ctx, m), nil
}

// awaitMax is how long a question for progress waits for news.
const awaitMax = 500 * time.Millisecond

// await answers at once when the memory is held or sending has ended, and else
// after awaitMax.
func (a *Agent) await(ctx context.Context, r Ref) (hypervisor.MemoryProgress, error) {
	m := a.look(r.Machine)
	mv, err := m.mover()
	if err != nil {
		return hypervisor.MemoryProgress{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, awaitMax)
	defer cancel()
	for {
		changed := mv.Changed()
		p, err := mv.Sent(context.WithoutCancel(ctx))
		if err != nil || p.State != hypervisor.Sending && !(p.Follows && p.Error == "") {
			return p, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p, nil
		}
	}
}

// cancel ends sending: the machine is at home again, or, if its memory was on its way
// back, hydrates on.
func (a *Agent) cancel(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if err := m.must(verbCancel, RoleIdle, RoleHome, RoleLeaving, RoleHydrating); err != nil {
		return Observed{}, err
	}
	if err := a.recall(ctx, m); err != nil {
		return Observed{}, err
	}
	if m.rec.Role == RoleHydrating {
		return a.observe(ctx, m), nil
	}
	if err := a.endSecondary(ctx, m); err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}

func (a *Agent) recall(ctx context.Context, m *machine) error {
	if m.rec.Role != RoleLeaving && m.rec.Role != RoleHydrating {
		return nil
	}
	s, err := m.state(ctx)
	if err != nil {
		return err
	}
	if s != hypervisor.Gone {
		mv, err := m.mover()
		if err != nil {
			return err
		}
		if err := mv.Cancel(ctx); err != nil {
			return fmt.Errorf("call machine %s back: %w", m.name, err)
		}
	}
	if m.rec.Role == RoleHydrating {
		return nil
	}
	return a.save(m, func(r *record) { r.Role = RoleHome })
}

// handover ends the guest here and serves its disks. It is the fence: after it
// the instance cannot run any more, whoever asks.
func (a *Agent) handover(ctx context.Context, m *machine, h Handover, _ *task) (Exported, error) {
	if err := m.must(verbHandover, RoleLeaving, RoleSecondary); err != nil {
		return Exported{}, err
	}
	if m.rec.Role == RoleLeaving && !h.Received {
		if err := a.unchanged(m); err != nil {
			return Exported{}, err
		}
	}
	leaves := m.rec.Role == RoleLeaving
	downtime, err := a.part(ctx, m, h.Received)
	if err != nil {
		return Exported{}, fmt.Errorf("hand over machine %s: %w", m.name, err)
	}
	if leaves {
		a.forward(m)
	}
	if err := a.save(m, func(r *record) { r.Role, r.Exported = RoleSecondary, true }); err != nil {
		return Exported{}, err
	}
	if err := a.export(ctx, m); err != nil {
		return Exported{}, err
	}
	return Exported{Address: m.rec.Export, Downtime: downtime}, nil
}

// part completes sending. An instance that is gone is no obstacle if the other
// side has the whole memory.
func (a *Agent) part(ctx context.Context, m *machine, received bool) (time.Duration, error) {
	if m.rec.Role == RoleSecondary {
		return 0, nil
	}
	downtime, err := m.sendOff(ctx)
	if received && errors.Is(err, errNoInstance) {
		return 0, nil
	}
	return downtime, err
}

// sendOff completes sending. The error says noInstance if the instance is gone.
func (m *machine) sendOff(ctx context.Context) (time.Duration, error) {
	mv, err := m.mover()
	if err != nil {
		return 0, err
	}
	downtime, err := mv.Handover(ctx)
	if err == nil {
		return downtime, nil
	}
	if s, serr := m.state(ctx); serr == nil && s == hypervisor.Gone {
		return 0, noInstance(m.name)
	}
	return 0, err
}

// export opens the disks in the secondary, in a new one if it was killed.
func (a *Agent) export(ctx context.Context, m *machine) error {
	sec := m.serving()
	if sec == nil || !sec.Alive(ctx) {
		listen := m.rec.Export
		if listen == "" {
			listen = a.cfg.Address.String() + ":0"
		}
		if err := a.serve(ctx, m, listen); err != nil {
			return err
		}
		sec = m.serving()
	}
	disks, err := a.disks(&m.rec.Instance)
	if err != nil {
		return err
	}
	if err := sec.Export(ctx, disks); err != nil {
		return fmt.Errorf("serve the disks of machine %s: %w", m.name, err)
	}
	m.opened()
	return nil
}

func (a *Agent) endSecondary(ctx context.Context, m *machine) error {
	if err := a.stopSecondary(ctx, m); err != nil {
		return fmt.Errorf("end the secondary of machine %s: %w", m.name, err)
	}
	a.removeDir(a.secondaryDir(m.name))
	if m.rec.Secondary == nil {
		return nil
	}
	return a.save(m, func(r *record) { r.Secondary, r.Export, r.Exported = nil, "", false })
}

func (a *Agent) stopSecondary(ctx context.Context, m *machine) error {
	m.see.Lock()
	sec, guard := m.sec, m.guard
	m.guard = nil
	m.see.Unlock()
	if guard != nil {
		guard()
	}
	if sec == nil {
		return nil
	}
	if err := sec.Stop(ctx); err != nil {
		return err
	}
	m.setSecondary(nil, false)
	return nil
}

// revoke makes the disks the machine's own again: first the export ends, so
// that nobody writes them any more, then the stale instance.
func (a *Agent) revoke(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if m.rec.Role == RoleIdle || m.rec.Role == RoleHome {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbRevoke, RoleSecondary, RoleLeaving); err != nil {
		return Observed{}, err
	}
	if err := a.endSecondary(ctx, m); err != nil {
		return Observed{}, err
	}
	if err := a.refuseRunning(ctx, m); err != nil {
		return Observed{}, err
	}
	if err := m.kill(ctx); err != nil {
		return Observed{}, err
	}
	if err := a.save(m, func(r *record) { r.Role, r.Handle = RoleIdle, nil }); err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}

// refuseRunning keeps a guest that still runs here from being killed.
func (a *Agent) refuseRunning(ctx context.Context, m *machine) error {
	s, err := m.state(ctx)
	if err != nil {
		return err
	}
	if s == hypervisor.Running || s == hypervisor.Sending || s == hypervisor.Held {
		return droveway.Errorf(droveway.Conflict, "machine %s still runs here: cancel its move instead", m.name)
	}
	return nil
}

// release removes what is left of a machine that is whole on another host. The
// record stays, without disks, as a fence.
func (a *Agent) release(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if m.rec.Role == RoleNone {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbRelease, RoleSecondary); err != nil {
		return Observed{}, err
	}
	return a.vacate(ctx, m)
}

// vacate clears a machine and leaves its token.
func (a *Agent) vacate(ctx context.Context, m *machine) (Observed, error) {
	if err := a.clear(ctx, m); err != nil {
		return Observed{}, err
	}
	err := a.save(m, func(r *record) {
		i := r.Instance
		*r = record{Role: RoleNone, Instance: Instance{Machine: i.Machine, UUID: i.UUID, Token: i.Token}}
	})
	if err != nil {
		return Observed{}, err
	}
	return a.observe(ctx, m), nil
}
