package machine

import (
	"context"
	"encoding/json"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
)

type stopArgs struct {
	Machine string        `json:"machine"`
	Grace   time.Duration `json:"grace"`
}

// defineStop makes the steps of a stop:
//
//	claim ─▶ want ─▶ stop ─▶ finish
//	  └───────┴───────┘ ║
//	undone: it is wanted to run; the controller starts it if it does not
func (c *Controller) defineStop(args json.RawMessage) ([]job.Step[before], error) {
	var a stopArgs
	if err := decode(KindStop, args, &a); err != nil {
		return nil, err
	}
	s := on[before]{c, a.Machine}
	return []job.Step[before]{
		{Name: "claim", Do: s.claim, Undo: s.unclaim},
		{Name: "want", Do: c.wantStopped(a.Machine), Undo: c.restore(a.Machine)},
		{Name: "stop", Do: s.stop(a.Grace), Point: true},
		{Name: "finish", Do: s.finish(wanted)},
	}, nil
}

func (c *Controller) wantStopped(machine string) func(context.Context, *job.Run[before]) error {
	return func(ctx context.Context, r *job.Run[before]) error {
		if _, err := c.remember(ctx, r, machine); err != nil {
			return err
		}
		return whileHeld(ctx, c.cfg.Fleet, machine, r.Job, func(m *droveway.Machine) { m.Spec.Running = false })
	}
}

func (s on[S]) stop(grace time.Duration) func(context.Context, *job.Run[S]) error {
	return func(ctx context.Context, r *job.Run[S]) error {
		m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
		if err != nil {
			return err
		}
		_, err = s.c.cfg.Hosts.Stop(ctx, m.Status.Host, host.Stop{Ref: ref(&m), Grace: grace})
		return err
	}
}
