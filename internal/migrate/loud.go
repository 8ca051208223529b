package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/droveway/droveway"
)

// waits is since when a step is held up.
type waits struct {
	Since int64 `json:"since"` // Unix ms; 0: it is not
	Told  bool  `json:"told"`  // it was said by an event
}

// toldAfter is how long a step is held up before that is news.
const toldAfter = 2 * time.Second

// loud says by events that a machine has to wait for a step, and that it goes on:
// without them only who looks at the job would know.
func (m *Moves) loud(do func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		err := do(ctx, r)
		if err == nil {
			return m.goesOn(ctx, r)
		}
		m.waits(ctx, r, err)
		return err
	}
}

// waits notes that a step is held up, and says so if it has been for long.
func (m *Moves) waits(ctx context.Context, r *run, cause error) {
	w := &r.State.Waits
	if w.Since == 0 {
		w.Since = time.Now().UnixMilli()
	}
	if w.Told || time.Since(time.UnixMilli(w.Since)) < toldAfter {
		return
	}
	if err := m.tell(ctx, r, "machine.waits", cause.Error()); err != nil {
		r.Log.Warn("no event says that the machine waits", "error", err)
		return
	}
	w.Told = true
}

func (m *Moves) goesOn(ctx context.Context, r *run) error {
	if r.State.Waits.Told {
		if err := m.tell(ctx, r, "machine.goes-on", ""); err != nil {
			return err
		}
	}
	r.State.Waits = waits{}
	return nil
}

// tell publishes an event about a wait; once, however often it is repeated.
func (m *Moves) tell(ctx context.Context, r *run, kind, reason string) error {
	b, err := json.Marshal(map[string]string{"job": r.Job, "reason": reason})
	if err != nil {
		return err
	}
	return m.cfg.Events.Publish(ctx, droveway.Event{
		ID: fmt.Sprintf("%s-%s-%d", r.Job, kind, r.State.Waits.Since), Type: kind, Subject: "machine/" + r.State.Source.Machine, Source: "server", Data: b,
	})
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
