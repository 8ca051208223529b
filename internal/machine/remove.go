package machine

import (
	"context"
	"encoding/json"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

type removeArgs struct {
	Machine string `json:"machine"`
}

// defineRemove makes the steps of a removal:
//
//	claim ─▶ remove ─▶ forget
//	  └─────────┘ ║
//	undone: the controller starts it if it is wanted to run
func (c *Controller) defineRemove(args json.RawMessage) ([]job.Step[none], error) {
	var a removeArgs
	if err := decode(KindRemove, args, &a); err != nil {
		return nil, err
	}
	s := on[none]{c, a.Machine}
	return []job.Step[none]{
		{Name: "claim", Do: s.claim, Undo: s.unclaim},
		{Name: "remove", Do: s.removeIfHostKnown, Point: true},
		{Name: "forget", Do: s.forget},
	}, nil
}

// removeIfHostKnown removes all that the machine's host has of it, the guest
// too, unless the host was taken out of the fleet: that is the operator's word
// that nothing runs there.
func (s on[S]) removeIfHostKnown(ctx context.Context, r *job.Run[S]) error {
	m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil {
		return err
	}
	_, _, err = s.c.cfg.Fleet.Hosts.Get(ctx, m.Status.Host)
	if droveway.Is(err, droveway.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.removeVolumes(ctx, r)
}
