package job_test

import (
	"context"
	"maps"
	"testing"

	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
)

type moveState struct {
	Target string
	Steps  int
}

// TestMove puts a small move through every crash, failure and cancel: a machine
// changes its host at the point of no return, and a place is reserved for the
// while.
func TestMove(t *testing.T) {
	jobtest.Run(t, func(*testing.T) jobtest.World[moveState] {
		host := map[string]string{"web-1": "a"}
		reserved := map[string]bool{}
		return jobtest.World[moveState]{
			Args: "web-1",
			Steps: []job.Step[moveState]{
				{
					Name: "reserve",
					Do: func(ctx context.Context, r *job.Run[moveState]) error {
						r.State.Target = "b"
						if err := r.Save(ctx); err != nil {
							return err
						}
						reserved["b"] = true
						return nil
					},
					Undo: func(_ context.Context, r *job.Run[moveState]) error {
						delete(reserved, r.State.Target)
						return nil
					},
				},
				{Name: "copy", Do: func(_ context.Context, r *job.Run[moveState]) error { r.State.Steps++; return nil }},
				{
					Name: "switch", Point: true,
					Do:   func(_ context.Context, r *job.Run[moveState]) error { host["web-1"] = r.State.Target; return nil },
					Undo: func(context.Context, *job.Run[moveState]) error { host["web-1"] = "a"; return nil },
				},
				{Name: "release", Do: func(context.Context, *job.Run[moveState]) error { clear(reserved); return nil }},
			},
			Check: func(t *testing.T, succeeded bool) {
				want := map[string]string{"web-1": "a"}
				if succeeded {
					want["web-1"] = "b"
				}
				if !maps.Equal(host, want) || len(reserved) != 0 {
					t.Errorf("hosts %v, reserved %v; want %v and none", host, reserved, want)
				}
			},
		}
	})
}
