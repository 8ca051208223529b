package job

import (
	"context"
	"errors"

	"github.com/droveway/droveway"
)

// advance does the next step, or turns round.
func (x *execution[S]) advance() error {
	if x.rec.Job.Step == "" {
		return x.begin()
	}
	s := x.steps[len(x.rec.Job.Done)]
	if x.mayStop() {
		return x.unwind(ErrCancelled)
	}
	failure, err := x.attempts(s)
	switch {
	case err != nil:
		return err
	case failure == nil:
		return x.finish(s)
	case x.rec.passed(), s.mayHaveActed() && isFinal(failure):
		return x.end(droveway.JobFailed, failure)
	}
	return x.unwind(failure)
}

// begin enters the next step into the journal, before it may act.
func (x *execution[S]) begin() error {
	if x.mayStop() {
		return x.unwind(ErrCancelled)
	}
	return x.enter(func(j *droveway.Job) {
		j.State = droveway.JobRunning
		j.Step = j.Steps[len(j.Done)]
	})
}

// finish enters a step as done and, in the same write, the next one as begun or
// the job as ended.
func (x *execution[S]) finish(s Step[S]) error {
	x.mu.Lock()
	x.rec.Job.Done = append(x.rec.Job.Done, s.Name)
	x.rec.Job.Step = ""
	last := len(x.rec.Job.Done) == len(x.steps)
	x.mu.Unlock()
	if !last {
		return x.begin()
	}
	return x.enter(func(j *droveway.Job) { ended(j, droveway.JobSucceeded) })
}

// enter writes a change that a cancel forestalls: if one was asked for since the
// last write, the job unwinds instead.
func (x *execution[S]) enter(change func(*droveway.Job)) error {
	x.mu.Lock()
	before, write := x.rec.Job, x.try
	if x.rec.passed() {
		write = x.write // the next step hears of it, if it can
	}
	err := x.change(change, write)
	if !errors.Is(err, ErrCancelled) {
		x.mu.Unlock()
		return x.told(err)
	}
	before.Cancel = true
	x.rec.Job = before
	x.mu.Unlock()
	return x.unwind(ErrCancelled)
}

// attempts does a step until it succeeds or fails for good, which is its failure.
// The other error ends Execute.
func (x *execution[S]) attempts(s Step[S]) (failure, err error) {
	for n := (Failures{}); ; {
		ctx := x.hearing()
		if x.rec.decided() || x.cancelled() { // it would not hear, or has heard
			ctx = x.ctx
		}
		changes := x.env.Changes()
		failure := x.call(ctx, s.Name, s.Do)
		n.add(failure)
		switch {
		case x.ctx.Err() != nil:
			return nil, context.Cause(x.ctx)
		case failure == nil:
			return nil, nil
		case x.mayStop():
			return ErrCancelled, nil
		case x.over(s, failure, n.All):
			return explain(s.Name, failure, n.All), nil
		}
		if x.cancelled() {
			ctx = x.ctx
		}
		if err := x.retry(ctx, s.Name, failure, n, changes); err != nil {
			return nil, err
		}
		if x.mayStop() {
			return ErrCancelled, nil
		}
	}
}

// over reports whether a failure ends the attempts.
func (x *execution[S]) over(s Step[S], failure error, attempt int) bool {
	switch {
	case x.rec.passed():
		return isFinal(failure)
	case s.mayHaveActed():
		return isFinal(failure) || isPermanent(failure)
	}
	return hopeless(failure) || attempt >= maxAttempts
}

func explain(step string, failure error, attempts int) error {
	if hopeless(failure) {
		return droveway.Errorf(droveway.KindOf(failure), "step %s: %w", step, failure)
	}
	return droveway.Errorf(droveway.KindOf(failure), "step %s failed %d times: %w", step, attempts, failure)
}

// mayStop reports whether a cancel was asked for in time.
func (x *execution[S]) mayStop() bool { return x.cancelled() && !x.rec.begun() }
