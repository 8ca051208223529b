package job

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/droveway/droveway"
)

// change changes state or step and writes the record by way of write. The caller
// holds mu.
func (x *execution[S]) change(change func(*droveway.Job), write func(context.Context) error) error {
	j := &x.rec.Job
	change(j)
	j.Progress, j.Retry, j.Waits, j.Stuck = nil, "", "", time.Time{}
	x.rec.Changes++
	return x.with(x.ctx, write)
}

// told passes a change on to Env.Changed once it is written.
func (x *execution[S]) told(err error) error {
	if err != nil {
		return err
	}
	x.mu.Lock()
	rec := *x.rec
	x.mu.Unlock()
	x.env.Changed(rec)
	return nil
}

func ended(j *droveway.Job, state droveway.JobState) {
	j.State, j.Step, j.Ended = state, "", time.Now().UTC()
}

// save writes the record with the present state. The caller holds mu.
func (x *execution[S]) save(ctx context.Context) error { return x.with(ctx, x.write) }

func (x *execution[S]) with(ctx context.Context, write func(context.Context) error) error {
	b, err := json.Marshal(x.state)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "encode the state of job %s: %w", x.rec.Job.Name, err)
	}
	x.rec.State = b
	return write(ctx)
}

// write writes the record with the state last saved, whether or not a cancel
// came in between. The caller holds mu.
func (x *execution[S]) write(ctx context.Context) error {
	err := x.try(ctx)
	if errors.Is(err, ErrCancelled) {
		return x.try(ctx)
	}
	return err
}

func (x *execution[S]) try(ctx context.Context) error {
	err := x.env.Journal.Save(ctx, x.rec)
	switch {
	case errors.Is(err, ErrCancelled):
		x.stop(ErrCancelled)
	case err != nil && ctx.Err() == nil:
		// Without a journal nothing more may be done, whatever the step makes
		// of the error.
		x.abort(err)
	}
	return err
}

// call calls a Do or an Undo. A panic is an Internal error: one defective step
// must not take down all other jobs.
func (x *execution[S]) call(ctx context.Context, step string, fn func(context.Context, *Run[S]) error) (err error) {
	log := x.env.Log.With("step", step)
	defer func(begun time.Time) {
		x.env.Timed(step, time.Since(begun))
		if p := recover(); p != nil {
			log.Error("a step failed by a defect", "panic", p, "stack", string(debug.Stack()))
			err = droveway.Errorf(droveway.Internal, "a defect: %v", p)
		}
	}(time.Now())
	return fn(ctx, &Run[S]{State: &x.state, Job: x.rec.Job.Name, Log: log, x: x})
}

// retry notes why a step is to be tried again, and waits; if the job is stuck, no longer
// than until something changes that was so at the attempt.
func (x *execution[S]) retry(ctx context.Context, step string, failure error, n Failures, changes <-chan struct{}) error {
	log := x.env.Log.With("step", step, "attempt", n.All, "error", failure)
	if err := x.note(failure, n, log); err != nil {
		return err
	}
	if !n.stuck() {
		changes = nil // it is tried soon anyway, and not often enough to use attempts up
	}
	wait(ctx, x.env.Retry(n), changes)
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	return nil
}

// wait waits for a time, or until shortly after a change: changes come in swarms, and one
// attempt is to see all of a swarm.
func wait(ctx context.Context, most time.Duration, changes <-chan struct{}) {
	end := time.NewTimer(most)
	defer end.Stop()
	select {
	case <-ctx.Done():
		return
	case <-end.C:
		return
	case <-changes: // never, if nil
	}
	select {
	case <-ctx.Done():
	case <-end.C:
	case <-time.After(wakeRest):
	}
}

// note writes down why a step is to be tried again, and says it loudly once the job
// is stuck.
func (x *execution[S]) note(failure error, n Failures, log *slog.Logger) error {
	x.mu.Lock()
	j := &x.rec.Job
	j.Retry = failure.Error()
	news := n.stuck() && j.Stuck.IsZero()
	switch {
	case news:
		j.Stuck = time.Now().UTC()
		x.rec.Changes++
	case n.Refused == 0:
		j.Stuck = time.Time{}
	}
	err := x.save(x.ctx)
	x.mu.Unlock()
	if !news {
		log.Warn("a step will be tried again")
		return err
	}
	log.Error("a step is refused each time: the job goes on once somebody has mended the cause")
	return x.told(err)
}
