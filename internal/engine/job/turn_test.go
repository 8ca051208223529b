package job_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// A step that turns hears a cancel after the point of no return, and the job
// fails as the step says; others after the point refuse the cancel.
func TestTurns(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	var rec *job.Record
	steps := []job.Step[struct{}]{
		{Name: "point", Point: true, Do: func(context.Context, *job.Run[struct{}]) error { return nil }},
		{Name: "turns", Turns: true, Do: func(ctx context.Context, r *job.Run[struct{}]) error {
			if err := rec.Cancel(); err != nil {
				t.Errorf("the cancel was refused: %v", err)
			}
			rec.Job.Cancel = false // as the store has it, not yet this process
			close(asked)
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
