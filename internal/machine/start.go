package machine

import (
	"context"
	"encoding/json"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

type startArgs struct {
	Machine string `json:"machine"`
	Restart bool   `json:"restart,omitempty"` // the controller's own: only if it is still wanted to run
}

// before is what a job restores when it is undone.
type before struct {
	Known   bool                  `json:"known"`
	Running bool                  `json:"running"`
	State   droveway.MachineState `json:"state"`
	Message string                `json:"message"`
}

// defineStart makes the steps of a start:
//
//	claim ─▶ prepare ─▶ networks ─▶ start ─▶ finish
//	  └─────────┴──────────┴─────────┘ ║
//	     undone: as it was      point of no return
func (c *Controller) defineStart(args json.RawMessage) ([]job.Step[before], error) {
	var a startArgs
	if err := decode(KindStart, args, &a); err != nil {
		return nil, err
	}
	s := on[before]{c, a.Machine}
	return []job.Step[before]{
		{Name: "claim", Do: s.claim, Undo: s.unclaim},
		{Name: "prepare", Do: c.prepare(a), Undo: c.restore(a.Machine)},
		{Name: "networks", Do: s.networks},
		{Name: "start", Do: s.start, Undo: s.kill, Point: true},
		{Name: "finish", Do: s.finish(wanted)},
	}, nil
}

// prepare writes down that the machine is wanted to run, and gives it the token
// of a new instance.
func (c *Controller) prepare(a startArgs) func(context.Context, *job.Run[before]) error {
	return func(ctx context.Context, r *job.Run[before]) error {
		m, err := c.remember(ctx, r, a.Machine)
		if err != nil {
			return err
		}
		if a.Restart && !m.Spec.Running {
			return droveway.Errorf(droveway.Conflict, "machine %s is not wanted to run any more", a.Machine)
		}
		_, err = advance(ctx, c.cfg.Fleet, a.Machine, r.Job, func(m *droveway.Machine) {
			m.Spec.Running = true
			setState(m, droveway.MachineDefining, "")
		})
		return err
	}
}

// remember keeps what the record says before the job changes it.
func (c *Controller) remember(ctx context.Context, r *job.Run[before], machine string) (droveway.Machine, error) {
	m, err := held(ctx, c.cfg.Fleet, machine, r.Job)
	if err != nil || r.State.Known {
		return m, err
	}
	*r.State = before{true, m.Spec.Running, m.Status.State, m.Status.Message}
	return m, r.Save(ctx)
}

func (c *Controller) restore(machine string) func(context.Context, *job.Run[before]) error {
	return func(ctx context.Context, r *job.Run[before]) error {
		if !r.State.Known {
			return nil
		}
		return whileHeld(ctx, c.cfg.Fleet, machine, r.Job, func(m *droveway.Machine) {
			m.Spec.Running = r.State.Running
			setState(m, r.State.State, r.State.Message)
		})
	}
}
