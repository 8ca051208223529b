package job_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// A step that turns hears a cancel after the point of no return, and the job
// fails as the step says; others after the point refuse the cancel.
func TestTurns(t *testing.T) {
	t.Parallel()
	asked := make(chan int, 1)
	var rec *job.Record
	steps := []job.Step[struct{}]{
		{Name: "point", Point: true, Do: func(context.Context, *job.Run[struct{}]) error { return nil }},
		{Name: "turns", Turns: true, Do: func(ctx context.Context, r *job.Run[struct{}]) error {
			if err := rec.Cancel(); err != nil {
				t.Errorf("the cancel was refused: %v", err)
			}
			rec.Job.Cancel = false // as the store has it, not yet this process
			asked <- 1
			<-ctx.Done()
			if !r.Cancelled() || r.Onward().Err() != nil {
				t.Errorf("cancelled: %t, onward: %v; want true and a context that goes on", r.Cancelled(), r.Onward().Err())
			}
			return job.Fail(droveway.Errorf(droveway.Conflict, "called off"))
		}},
		{Name: "after", Do: func(context.Context, *job.Run[struct{}]) error {
			t.Error("the job went on")
			return nil
		}},
	}
	rec, err := job.NewRecord(steps)
	if err != nil {
		t.Fatal(err)
	}
	env := job.Env{Journal: discard{}, Asked: asked, Log: slog.New(slog.DiscardHandler)}
	if err := job.Execute(t.Context(), rec, steps, env); err != nil {
		t.Fatal(err)
	}
	if rec.Job.State != droveway.JobFailed {
		t.Errorf("the job %s, want failed", rec.Job.State)
	}
}

type discard struct{}

func (discard) Save(context.Context, *job.Record) error { return nil }

// A cancel that a step cannot obey is taken back: the job goes on, and the next
// cancel is heard, from the journal or from a later owner's start.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	for _, interrupted := range []bool{false, true} {
		asked := make(chan int, 1)
		j := &memory{}
		var heard []string
		var interrupt context.CancelFunc
		steps := []job.Step[struct{}]{
			{Name: "point", Point: true, Do: func(context.Context, *job.Run[struct{}]) error { return nil }},
			{Name: "turns", Turns: true, Do: func(ctx context.Context, r *job.Run[struct{}]) error {
				switch len(heard) {
				case 0:
					asked <- 1
					<-ctx.Done()
					heard = append(heard, "first")
					return droveway.Errorf(droveway.Unavailable, "not yet")
				case 1:
					heard = append(heard, "withdrawn")
					if err := r.Withdraw(r.Onward()); err != nil {
						t.Error(err)
					}
					if interrupted {
						interrupt()
					}
					return droveway.Errorf(droveway.Unavailable, "it cannot be obeyed")
				}
				if r.Cancelled() || ctx.Err() != nil {
					t.Error("the cancel that was taken back is still heard")
				}
				j.cancel = func(droveway.Job) bool { return true }
				r.Progress(droveway.Progress{Done: 1})
				<-ctx.Done()
				return job.Fail(droveway.Errorf(droveway.Conflict, "called off"))
			}},
		}
		rec, err := job.NewRecord(steps)
		if err != nil {
			t.Fatal(err)
		}
		env := job.Env{Journal: j, Asked: asked, Log: slog.New(slog.DiscardHandler), Retry: func(job.Failures) time.Duration { return 0 }}
		ctx, cancel := context.WithCancel(t.Context())
		interrupt = cancel
		err = job.Execute(ctx, rec, steps, env)
		if interrupted {
			if err == nil {
				t.Fatal("the first owner was not interrupted")
			}
			err = job.Execute(t.Context(), rec, steps, env)
		}
		cancel()
		if err != nil || rec.Job.State != droveway.JobFailed || !rec.Job.Cancel || len(heard) != 2 {
			t.Errorf("interrupted %t: job %s, cancel %t, heard %v, %v", interrupted, rec.Job.State, rec.Job.Cancel, heard, err)
		}
	}
}
