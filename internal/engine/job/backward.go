package job

import (
	"context"

	"github.com/droveway/droveway"
)

// unwind turns round: from here on the job undoes what it has done, beginning
// with the step that was under way.
func (x *execution[S]) unwind(why error) error {
	return x.turn(func(j *droveway.Job) {
		j.Error = why.Error()
		j.State = droveway.JobUnwinding
		if j.Step == "" && !x.rec.back() {
			ended(j, droveway.JobFailed)
		}
	})
}

// retreat undoes the step under way. An Undo that fails is tried again for ever:
// to give up would leave a mess that nobody knows of.
func (x *execution[S]) retreat() error {
	s := x.steps[len(x.rec.Job.Done)]
	for n := (Failures{}); s.Undo != nil; {
		changes := x.env.Changes()
		failure := x.call(x.ctx, s.Name, s.Undo)
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		if failure == nil {
			break
		}
		n.add(failure)
		if err := x.retry(x.ctx, s.Name, failure, n, changes); err != nil {
			return err
		}
	}
	return x.turn(func(j *droveway.Job) {
		if !x.rec.back() {
			ended(j, droveway.JobFailed)
		}
	})
}

// end ends the job as it is.
func (x *execution[S]) end(state droveway.JobState, why error) error {
	return x.turn(func(j *droveway.Job) {
		j.Error = why.Error()
		ended(j, state)
	})
}

// turn writes a change that a cancel does not forestall.
func (x *execution[S]) turn(change func(*droveway.Job)) error {
	x.mu.Lock()
	err := x.change(change, x.write)
	x.mu.Unlock()
	return x.told(err)
}
