package migrate

import (
	"context"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/machine"
)

// loud says by events that a machine has to wait for a step, and that it goes on:
// without them only who looks at the job would know.
func (m *Moves) loud(do func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		err := do(ctx, r)
		if err == nil {
			return r.State.Waits.GoesOn(ctx, m.teller(r))
		}
		r.State.Waits.Held(ctx, m.teller(r), err.Error())
		return err
	}
}

func (m *Moves) teller(r *run) machine.Teller {
	return machine.Teller{Events: m.cfg.Events, Machine: r.State.Source.Machine, Job: r.Job, Log: r.Log}
}

// advance is how far the disks had come when they last came further.
type advance struct {
	done int64
	at   time.Time
}

// stalledAfter is how long disks may come no further before somebody asks why.
const stalledAfter = 2 * time.Second

func (a *advance) stalled(done int64) bool {
	if done != a.done || a.at.IsZero() {
		*a = advance{done, time.Now()}
	}
	return time.Since(a.at) >= stalledAfter
}

// sourceAnswers fails if the host that has the disks is away. The target does not
// say so itself at first: its requests wait.
func (m *Moves) sourceAnswers(ctx context.Context, s *state) error {
	_, err := m.cfg.Hosts.Show(ctx, s.From, s.Source.Machine)
	if droveway.Is(err, droveway.Unavailable) {
		return droveway.Errorf(droveway.Unavailable, "the guest waits for its disks on host %s: %w", s.From, err)
	}
	return nil
}
