package job

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/droveway/droveway"
)

// progressEvery bounds how often progress is written: it is for people to see.
const progressEvery = 200 * time.Millisecond

// Run is a job as its steps see it. State belongs to the step that runs; the
// methods may be called from any goroutine of it.
type Run[S any] struct {
	// State is kept in the journal: written at the end of each step and by Save.
	// A step that must remember something before it acts calls Save in between.
	State *S
	Job   string       // the job's name
	Log   *slog.Logger // has the keys job and step
	x     *execution[S]
}

// Save writes State into the journal now.
func (r *Run[S]) Save(ctx context.Context) error {
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	return r.x.save(ctx)
}

// Progress tells how far the step is. It may be called often: it is written five
// times a second at most.
func (r *Run[S]) Progress(p droveway.Progress) {
	x := r.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if was := x.rec.Job.Progress; was != nil && p.Done > was.Done {
		x.rec.Job.Stuck = time.Time{} // whatever refused the step does so no more
	}
	x.rec.Job.Progress = &p
	if time.Since(x.progressed) < progressEvery {
		return
	}
	x.progressed = time.Now()
	// State is not written: the step may be in the midst of changing it.
	if err := x.write(x.ctx); err != nil && x.ctx.Err() == nil {
		r.Log.Warn("progress was not written", "error", err)
	}
}

// Waits says why the step comes no further, empty once it does. It may be called
// often: it is written when it changes.
func (r *Run[S]) Waits(why string) {
	x := r.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rec.Job.Waits == why {
		return
	}
	x.rec.Job.Waits = why
	if err := x.write(x.ctx); err != nil && x.ctx.Err() == nil {
		r.Log.Warn("it was not written why the step waits", "error", err)
	}
}

// Cancelled reports whether a cancel was asked for; the step's context has ended
// then, unless the point of no return has begun.
func (r *Run[S]) Cancelled() bool { return r.x.cancelled() }

// Onward is the context of a step that has heard a cancel and turns round: it
// ends with the process only.
func (r *Run[S]) Onward() context.Context { return r.x.ctx }

// Withdraw takes back a cancel that the step has heard and cannot obey, and writes
// State: the job goes on, and hears the next one. The step returns an error that is
// tried again.
func (r *Run[S]) Withdraw(ctx context.Context) error {
	x := r.x
	x.mu.Lock()
	defer x.mu.Unlock()
	// What was heard may not be in this process's record yet. It has to be, or the
	// write that takes it back would find it in the store and take it for the next one.
	if err := x.write(ctx); err != nil {
		return err
	}
	x.rec.Job.Cancel = false
	x.takenBack.Store(int64(x.rec.Cancels))
	x.hear()
	return x.save(ctx)
}

// Args reads the arguments of the job, as far as its owner has heard of an Amend:
// it hears with each write of the record, progress among them.
func (r *Run[S]) Args(into any) error {
	r.x.mu.Lock()
	args := r.x.rec.Job.Args
	r.x.mu.Unlock()
	if err := json.Unmarshal(args, into); err != nil {
		return Permanent(droveway.Errorf(droveway.Invalid, "arguments of job %s: %w", r.Job, err))
	}
	return nil
}

// Submitted is when the job was asked for.
func (r *Run[S]) Submitted() time.Time {
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	return r.x.rec.Job.Created
}

// Passed reports whether the point of no return is done.
func (r *Run[S]) Passed() bool {
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	return r.x.rec.passed()
}

// Result sets the result of the job, written with State. It fails if v is not
// fit for JSON.
func (r *Run[S]) Result(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return Permanent(droveway.Errorf(droveway.Internal, "encode the result of job %s: %w", r.Job, err))
	}
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	r.x.rec.Job.Result = b
	return nil
}
