package machine

import (
	"context"
	"encoding/json"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
)

// resizing is what a resize hands from the host to the record.
type resizing struct {
	Disks []host.DiskSize `json:"disks,omitempty"` // as they are now
}

// defineResize makes the steps of a resize:
//
//	claim ─▶ check ─▶ grow ─▶ finish
//	  └────────┘       ║
//	undone: nothing    point of no return: a disk that
//	was changed        has grown does not shrink again
func (c *Controller) defineResize(args json.RawMessage) ([]job.Step[resizing], error) {
	var a Resize
	if err := decode(KindResize, args, &a); err != nil {
		return nil, err
	}
	return c.resizeSteps(a), nil
}

func (c *Controller) resizeSteps(a Resize) []job.Step[resizing] {
	s := on[resizing]{c, a.Machine}
	return []job.Step[resizing]{
		{Name: "claim", Do: s.claim, Undo: s.unclaim},
		{Name: "check", Do: c.checkResize(a)},
		{Name: "grow", Do: c.grow(a), Point: true},
		{Name: "finish", Do: func(ctx context.Context, r *job.Run[resizing]) error { return c.resized(ctx, r, &a) }},
	}
}

// checkResize looks again, now that nobody else changes the machine.
func (c *Controller) checkResize(a Resize) func(context.Context, *job.Run[resizing]) error {
	return func(ctx context.Context, r *job.Run[resizing]) error {
		m, err := held(ctx, c.cfg.Fleet, a.Machine, r.Job)
		if err != nil {
			return err
		}
		_, err = c.resizable(ctx, &m, &a)
		return err
	}
}

// grow has the host make the disks larger. If one of them refuses, the record
// still has to say how large the others have become.
func (c *Controller) grow(a Resize) func(context.Context, *job.Run[resizing]) error {
	return func(ctx context.Context, r *job.Run[resizing]) error {
		m, err := held(ctx, c.cfg.Fleet, a.Machine, r.Job)
		if err != nil {
			return job.Permanent(err)
		}
		if len(a.Disks) == 0 {
			return nil
		}
		order := host.Resize{Ref: ref(&m)}
		for _, d := range a.Disks {
			order.Disks = append(order.Disks, host.DiskSize{Name: d.Name, Size: d.SizeMiB << 20})
		}
		done, err := c.cfg.Hosts.Resize(ctx, m.Status.Host, order)
		if err != nil && !droveway.Is(err, droveway.Unavailable) && !droveway.Is(err, droveway.Internal) {
			return job.Permanent(err) // the host has not begun
		}
		if err != nil {
			return err
		}
		r.State.Disks = done.Disks
		if done.Refused == "" {
			return nil
		}
		if err := c.resized(ctx, r, &Resize{Machine: a.Machine}); err != nil {
			return err
		}
		return job.Fail(droveway.Errorf(droveway.Conflict, "resize machine %s: %s", a.Machine, done.Refused))
	}
}

// resized writes down what has become of the machine, and frees it.
func (c *Controller) resized(ctx context.Context, r *job.Run[resizing], a *Resize) error {
	return whileHeld(ctx, c.cfg.Fleet, a.Machine, r.Job, func(m *droveway.Machine) {
		for _, d := range r.State.Disks {
			for n := range m.Spec.Disks {
				if m.Spec.Disks[n].Name == d.Name {
					m.Spec.Disks[n].SizeMiB = (d.Size + mib - 1) / mib
				}
			}
		}
		a.setRest(&m.Spec)
		m.Status.Job = ""
		_ = r.Result(sizeOf(&m.Spec)) // cannot fail: strings and numbers
	})
}
