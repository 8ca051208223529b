package machine

import (
	"context"
	"errors"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
)

var errNotHeld = errors.New("the machine does not belong to the job")

// setState writes a state into a record. The time of the last change goes with
// it: the event of the change is known by it.
func setState(m *droveway.Machine, s droveway.MachineState, message string) {
	if m.Status.State != s {
		m.Status.State, m.Status.Since = s, time.Now().UTC()
	}
	m.Status.Message = message
}

// advance gives a machine that the job has claimed the token of its next
// instance, together with another change of its record. A token is greater than
// any that a machine of this name ever had, even one that was removed, for it is
// no less than the record's revision in the store, and that only grows.
func advance(ctx context.Context, f *fleet.Fleet, machine, job string, change func(*droveway.Machine)) (droveway.Machine, error) {
	for {
		m, rev, err := f.Machines.Get(ctx, machine)
		if err != nil {
			return m, err
		}
		if m.Status.Job != job {
			return m, lost(machine, job)
		}
		m.Status.Token = max(rev, m.Status.Token+1)
		change(&m)
		_, err = f.Machines.Put(ctx, machine, m, rev)
		if !droveway.Is(err, droveway.Conflict) {
			return m, err
		}
	}
}

// held reads the record of a machine that a job has claimed.
func held(ctx context.Context, f *fleet.Fleet, machine, job string) (droveway.Machine, error) {
	m, _, err := f.Machines.Get(ctx, machine)
	if err == nil && m.Status.Job != job {
		err = lost(machine, job)
	}
	return m, err
}

// stillHeld is held for undoing: if the job has no machine there is nothing to
// undo.
func stillHeld(ctx context.Context, f *fleet.Fleet, machine, job string) (m droveway.Machine, ok bool, err error) {
	m, _, err = f.Machines.Get(ctx, machine)
	if droveway.Is(err, droveway.NotFound) {
		return m, false, nil
	}
	return m, err == nil && m.Status.Job == job, err
}

func lost(machine, job string) error {
	return droveway.Errorf(droveway.Conflict, "machine %s does not belong to job %s any more", machine, job)
}
