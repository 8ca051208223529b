package machine

import (
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
)

// Claim gives a machine to a job: nobody else changes it until Unclaim. It is
// the first step of every job on machines, so that the name of the job exists
// before the claim does: a claim whose job has ended, or does not exist, is
// thereby known to be left over and the Controller frees it. Of two jobs that
// were submitted at the same time the compare-and-set lets one through; the other
// ends without having done anything, with the same Conflict naming the winner
// that checkFree gives to whoever submits later. A repeated request identifier
// gives the job that is there, before either check.
//
// Claiming again for the same job does nothing. Errors: NotFound; Conflict, with
// the name of the job that has the machine.
func Claim(ctx context.Context, f *fleet.Fleet, machine, job string) (droveway.Machine, error) {
	m, rev, err := f.Machines.Get(ctx, machine)
	for {
		switch {
		case err != nil:
			return m, err
		case m.Status.Job == job:
			return m, nil
		case m.Status.Job != "":
			return m, checkFree(&m)
		}
		m.Status.Job = job
		_, err = f.Machines.Put(ctx, machine, m, rev)
		if !droveway.Is(err, droveway.Conflict) {
			return m, err
		}
		m, rev, err = f.Machines.Get(ctx, machine)
	}
}

// Unclaim ends a claim. It does nothing if the job does not have the machine, or
// the machine is gone.
func Unclaim(ctx context.Context, f *fleet.Fleet, machine, job string) error {
	return whileHeld(ctx, f, machine, job, func(m *droveway.Machine) { m.Status.Job, m.Status.Reserved = "", "" })
}

// checkFree refuses a machine that belongs to a job: Conflict, with its name.
func checkFree(m *droveway.Machine) error {
	if m.Status.Job == "" {
		return nil
	}
	return droveway.Errorf(droveway.Conflict, "machine %s is held by job %s: wait for it, or cancel it", m.Name, m.Status.Job)
}

// whileHeld changes a machine's record if the job has it, and does nothing
// otherwise: then another job did what there was to do, or took over.
func whileHeld(ctx context.Context, f *fleet.Fleet, machine, job string, change func(*droveway.Machine)) error {
	_, err := f.Machines.Update(ctx, machine, func(m *droveway.Machine) error {
		if m.Status.Job != job {
			return errNotHeld
		}
		change(m)
		return nil
	})
	if err == errNotHeld || droveway.Is(err, droveway.NotFound) {
		return nil
	}
	return err
}
