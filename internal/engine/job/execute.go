package job

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/droveway/droveway"
)

// Before the point of no return is done, a step is tried this often.
const maxAttempts = 10

// What is away comes back by itself, and is to be noticed soon. What is refused each
// time stays so until somebody mends it.
const (
	retryMin   = 100 * time.Millisecond
	retryMax   = 5 * time.Second
	refusedMax = 30 * time.Second
	wakeRest   = time.Second // between a sign that something has changed and the attempt
)

// Journal makes a record durable.
type Journal interface {
	// Save writes the record. If a cancel was asked for since the record was
	// last written, it sets rec.Job.Cancel, writes nothing and returns
	// ErrCancelled; the next Save writes.
	Save(ctx context.Context, rec *Record) error
}

// Env is what a job runs in.
type Env struct {
	Journal Journal
	Asked   <-chan int                            // the number, as Record.Cancels counts them, of a cancel that is asked for; may be nil; of what was asked before, the record tells
	Log     *slog.Logger                          // has the key job
	Retry   func(Failures) time.Duration          // the wait after an attempt; nil: 100 ms to 5 s, to 30 s for what is refused each time
	Changes func() <-chan struct{}                // closed once something has changed that a step may wait for; may be nil
	Changed func(Record)                          // after state or step has changed, or the job is stuck; may be nil
	Timed   func(step string, took time.Duration) // after a Do or Undo; may be nil
}

func (e *Env) fill() {
	if e.Retry == nil {
		e.Retry = retryDelay
	}
	if e.Changes == nil {
		e.Changes = func() <-chan struct{} { return nil }
	}
	if e.Changed == nil {
		e.Changed = func(Record) {}
	}
	if e.Timed == nil {
		e.Timed = func(string, time.Duration) {}
	}
}

// Execute goes on with a job until it has ended; then it returns nil. Any other
// return (the end of ctx, a journal that cannot be written) leaves the job for
// another Execute.
func Execute[S any](ctx context.Context, rec *Record, steps []Step[S], env Env) error {
	x := &execution[S]{rec: rec, steps: steps, env: env}
	x.env.fill()
	if len(rec.State) > 0 {
		if err := json.Unmarshal(rec.State, &x.state); err != nil {
			return droveway.Errorf(droveway.Internal, "state of job %s cannot be read: %w", rec.Job.Name, err)
		}
	}
	x.ctx, x.abort = context.WithCancelCause(ctx)
	defer x.abort(nil)
	x.hear()
	defer x.stop(nil)
	if rec.Job.Cancel {
		x.stop(ErrCancelled)
	} else {
		x.takenBack.Store(int64(rec.Cancels))
	}
	go x.heed()
	return x.loop()
}

// Failures counts the attempts at a step that failed in a row.
type Failures struct {
	All     int
	Refused int // the last of them, if they failed in a way that another attempt does not mend
}

// add counts one more.
func (f *Failures) add(failure error) {
	f.All++
	f.Refused++
	if !hopeless(failure) {
		f.Refused = 0
	}
}

// stuck reports whether nobody can hope any more that the step goes on by itself.
func (f Failures) stuck() bool { return f.Refused >= maxAttempts }

func retryDelay(f Failures) time.Duration {
	if f.stuck() {
		return min(retryMax<<min((f.Refused-maxAttempts)/2, 10), refusedMax)
	}
	return min(retryMin<<min(f.All-1, 10), retryMax)
}

// execution is one Execute under way.
type execution[S any] struct {
	ctx     context.Context         // ends with Execute's, or when the journal cannot be written
	abort   context.CancelCauseFunc // ends ctx
	forward atomic.Pointer[hearing]
	steps   []Step[S]
	env     Env

	takenBack atomic.Int64 // how many cancels, the first of all, are of no concern any more

	mu         sync.Mutex // steps may call their Run from several goroutines
	rec        *Record
	state      S
	progressed time.Time
}

// hearing is the context of steps that a cancel may interrupt.
type hearing struct {
	context.Context
	stop context.CancelCauseFunc
}

// hear begins to hear a cancel, anew after one that was taken back.
func (x *execution[S]) hear() {
	h := &hearing{}
	h.Context, h.stop = context.WithCancelCause(x.ctx)
	x.forward.Store(h)
}

func (x *execution[S]) hearing() context.Context { return x.forward.Load() }

func (x *execution[S]) stop(cause error) { x.forward.Load().stop(cause) }

// heed listens for cancels. Of one that was taken back it may hear late.
func (x *execution[S]) heed() {
	for {
		select {
		case n := <-x.env.Asked: // never, if nil
			if int64(n) > x.takenBack.Load() {
				x.stop(ErrCancelled)
			}
		case <-x.ctx.Done():
			return
		}
	}
}

func (x *execution[S]) cancelled() bool {
	return errors.Is(context.Cause(x.hearing()), ErrCancelled)
}

func (x *execution[S]) loop() error {
	for {
		var err error
		switch x.rec.Job.State {
		case droveway.JobPending, droveway.JobRunning:
			err = x.advance()
		case droveway.JobUnwinding:
			err = x.retreat()
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}
