package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
			return m.notBack(ctx, r, err)
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
	r.State.BackAt = max(r.State.Source.Token, r.State.Target.Token) + 1
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
	p, err := m.held(ctx, r, s.To, s.target(), func() bool { return true }) // notBack asks both
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

// giveUpAfter is for how long a way back may fail, while both hosts answer, before the
// guest stays where it is.
const giveUpAfter = 2 * time.Minute

// notBack cleans up after memory that did not get back, for another attempt; or, after
// many of them, for none: the guest stays, the move goes on, and can be called off again.
func (m *Moves) notBack(ctx context.Context, r *run, cause error) error {
	s := r.State
	if !m.bothAnswer(ctx, s) {
		s.BackFails = 0
		return cause
	}
	if err := m.callBack(ctx, s); err != nil {
		return errors.Join(cause, err)
	}
	now := time.Now().UnixMilli()
	if s.BackFails == 0 {
		s.BackFails = now
	}
	if now-s.BackFails < m.giveUp.Milliseconds() {
		return cause
	}
	return m.stay(ctx, r, cause)
}

func (m *Moves) bothAnswer(ctx context.Context, s *state) bool {
	for _, name := range []string{s.From, s.To} {
		if _, err := m.cfg.Hosts.Show(ctx, name, s.Source.Machine); err != nil {
			return false
		}
	}
	return true
}

// callBack ends an attempt to send memory back: first the target says that the guest
// goes on there.
func (m *Moves) callBack(ctx context.Context, s *state) error {
	if _, err := m.cfg.Hosts.Cancel(ctx, s.To, s.target()); err != nil {
		return err
	}
	_, err := m.cfg.Hosts.Unwelcome(ctx, s.From, s.back())
	return err
}

// stay gives a call-off up. The source has seen the token of the instance that was to
// come back; from here on that is its own, and no instance after it gets a lesser one.
func (m *Moves) stay(ctx context.Context, r *run, cause error) error {
	s := r.State
	if err := m.settleOn(ctx, s.Target.Machine, s.To, s.BackAt, ""); err != nil {
		return err
	}
	why := droveway.Errorf(droveway.Unavailable, "the call-off was given up, and the move goes on; --abort tries it again: the memory did not get back: %w", cause)
	b, err := json.Marshal(map[string]string{"job": r.Job, "reason": why.Error()})
	if err != nil {
		return err
	}
	// The identifier makes it one event, however often the step is repeated.
	err = m.cfg.Events.Publish(ctx, droveway.Event{
		ID: fmt.Sprintf("%s-stays-%d", r.Job, s.BackAt), Type: "machine.stays", Subject: "machine/" + s.Target.Machine, Source: "server", Data: b,
	})
	if err != nil {
		return err
	}
	s.Source.Token, s.BackAt, s.BackFails = s.BackAt, 0, 0
	live(r, s.To, "%v; host %s keeps a current copy of its disks", why, s.From)
	if err := r.Withdraw(ctx); err != nil {
		return err
	}
	return why
}
