package migrate

import (
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/machine"
)

// turning is a step after the switchover that hears a cancel: then the guest goes
// back to the source, with its memory, where its disks are current.
func (m *Moves) turning(do func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		if !r.Cancelled() {
			err := do(ctx, r)
			if err == nil || !r.Cancelled() {
				return err
			}
		}
		return m.goBack(r.Onward(), r)
	}
}

// goBack is a move in the other direction, of the memory alone:
//
//	welcome (source) ─▶ send (target) ─▶ give back (target) ─▶ home (source)
//
// Each verb may be repeated, so after an interruption it begins anew; which side
// is live the hosts tell.
func (m *Moves) goBack(ctx context.Context, r *run) error {
	s := r.State
	if err := m.returnToken(ctx, r); err != nil {
		return err
	}
	target, err := m.cfg.Hosts.Show(ctx, s.To, s.Target.Machine)
	if err != nil {
		return m.unlessLost(ctx, r, err)
	}
	switch {
	case target.Role == host.RoleHome: // proved and settled before the cancel was heard
		return m.proved(r)
	case target.Role == host.RoleHydrating && gone(target):
		return m.comeBack(ctx, r, "the target's instance died on its way back")
	case target.Role == host.RoleHydrating:
		if err := m.sendBack(ctx, r); err != nil {
			return err
		}
	}
	_, err = m.cfg.Hosts.Home(ctx, s.From, s.back())
	if droveway.Is(err, droveway.Conflict) || droveway.Is(err, droveway.NotFound) {
		return m.comeBack(ctx, r, "the instance on the source died as the guest came back")
	}
	if err != nil {
		return err
	}
	return m.backHome(ctx, r)
}

// returnToken gives the instance that comes back a token, and writes it down.
func (m *Moves) returnToken(ctx context.Context, r *run) error {
	if r.State.BackAt != 0 {
		return nil
	}
	r.State.BackAt = r.State.Target.Token + 1
	return r.Save(ctx)
}

func (s *state) back() host.Ref { return host.Ref{Machine: s.Source.Machine, Token: s.BackAt} }

func (m *Moves) sendBack(ctx context.Context, r *run) error {
	s := r.State
	back := s.Source
	back.Token = s.BackAt
	w, err := m.cfg.Hosts.Welcome(ctx, s.From, host.Reserve{Instance: back, Peer: s.To})
	if err != nil {
		return err
	}
	if _, err := m.cfg.Hosts.Send(ctx, s.To, host.Send{Ref: s.target(), To: w.Address, Peer: s.From}); err != nil {
		return err
	}
	p, err := m.held(ctx, r, s.To, s.target())
	if err != nil {
		return err
	}
	if p.Error != "" {
		return droveway.Errorf(droveway.Unavailable, "the memory did not reach host %s: %s", s.From, p.Error)
	}
	_, err = m.cfg.Hosts.GiveBack(ctx, s.To, s.target())
	return err
}

// backHome ends a move whose guest runs on the source again.
func (m *Moves) backHome(ctx context.Context, r *run) error {
	s := r.State
	if err := m.settleOn(ctx, s.Source.Machine, s.From, s.BackAt, ""); err != nil {
		return err
	}
	if err := m.clearTarget(ctx, s); err != nil {
		return err
	}
	live(r, s.From, "called off: it came back with its memory")
	if err := machine.Unclaim(ctx, m.cfg.Fleet, s.Source.Machine, r.Job); err != nil {
		return err
	}
	return job.Fail(droveway.Errorf(droveway.Conflict, "called off: machine %s is back on host %s, and was not restarted", s.Source.Machine, s.From))
}
