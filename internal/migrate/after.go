package migrate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/machine"
)

// hydrate waits until the target's disks are whole and mirrored.
func (m *Moves) hydrate(ctx context.Context, r *run) error {
	s := r.State
	for last := (advance{}); ; {
		h, err := m.cfg.Hosts.Hydration(ctx, s.To, s.target())
		if err != nil {
			return m.unlessLost(ctx, r, err)
		}
		switch {
		case h.Instance == hypervisor.Gone:
			return m.comeBack(ctx, r, "the target's instance died while its disks followed")
		case h.Ready || h.Settled:
			s.Result.SyncMS, s.Result.SyncBytes = time.Now().UnixMilli()-s.Switched, h.Total
			r.Result(s.Result)
			return nil
		case h.Paused || h.Instance == hypervisor.Stuck:
			return droveway.Errorf(droveway.Unavailable, "the guest waits for its disks: %s", cmp.Or(h.Error, "its last request failed"))
		}
		if last.stalled(h.Done) {
			if err := m.sourceAnswers(ctx, s); err != nil {
				return err
			}
		}
		if err := m.pace(ctx, r); err != nil {
			return m.unlessLost(ctx, r, err)
		}
		p := host.Progress(h.Done, h.Total, time.Since(time.UnixMilli(s.Switched)))
		r.Progress(p)
	}
}

// release removes the source's copy, which nothing needs any more.
func (m *Moves) release(ctx context.Context, r *run) error {
	s := r.State
	if s.From != s.To {
		if _, err := m.cfg.Hosts.Release(ctx, s.From, s.source()); err != nil {
			return err
		}
		live(r, s.To, "the only copy is there")
	}
	return machine.Unclaim(ctx, m.cfg.Fleet, s.Target.Machine, r.Job)
}

// comeBack boots the machine from the source's disks, which hold every write
// that was acknowledged. First the target ends whatever it has of the machine,
// unless the operator says that there is no target any more; then the source ends
// its export, so that nobody writes the disks; only then does a guest boot.
func (m *Moves) comeBack(ctx context.Context, r *run, why string) error {
	return m.comeBackWith(ctx, r, why, "nothing acknowledged is lost")
}

// comeBackWith is comeBack with what may be promised of the guest's writes.
func (m *Moves) comeBackWith(ctx context.Context, r *run, why, promise string) error {
	s := r.State
	if err := m.returnToken(ctx, r); err != nil {
		return err
	}
	if err := m.clearTarget(ctx, s); err != nil {
		return err
	}
	if _, err := m.cfg.Hosts.Revoke(ctx, s.From, s.back()); err != nil {
		return err
	}
	back := s.Source
	back.Token = s.BackAt
	if _, err := m.cfg.Hosts.Start(ctx, s.From, back); err != nil {
		return err
	}
	if err := m.settleOn(ctx, back.Machine, s.From, back.Token, ""); err != nil {
		return err
	}
	live(r, s.From, "%s: booted from its disks there", why)
	if err := machine.Unclaim(ctx, m.cfg.Fleet, back.Machine, r.Job); err != nil {
		return err
	}
	return job.Fail(droveway.Errorf(droveway.Unavailable, "%s: machine %s boots again on host %s from its current disks; %s", why, back.Machine, s.From, promise))
}

// unlessLost is err, unless the target was taken out of the fleet as lost: then
// nobody will hear from it again, and the machine comes back. Nothing but the
// operator's word makes a silent host lost.
func (m *Moves) unlessLost(ctx context.Context, r *run, err error) error {
	if !droveway.Is(err, droveway.Unavailable) || !m.lost(ctx, r.State.To) {
		return err
	}
	return m.comeBack(ctx, r, "the target was taken out of the fleet as lost")
}

// lost reports whether a host is in the fleet no more.
func (m *Moves) lost(ctx context.Context, host string) bool {
	_, _, err := m.cfg.Fleet.Hosts.Get(ctx, host)
	return droveway.Is(err, droveway.NotFound)
}

// clearTarget removes what the target has, if there is a target.
func (m *Moves) clearTarget(ctx context.Context, s *state) error {
	_, err := m.cfg.Hosts.Remove(ctx, s.To, s.target())
	if droveway.Is(err, droveway.Unavailable) && m.lost(ctx, s.To) {
		return nil
	}
	return err
}

// left is the error of a proof that found differences.
func left(disk string, n int) error {
	return fmt.Errorf("%d chunks of disk %s differ", n, disk)
}
