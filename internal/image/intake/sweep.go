package intake

import (
	"context"
	"encoding/json"
)

// Sweep removes the transfers that nobody has gone on with for a week, unless a job
// that has not ended needs them.
func (i *Intake) Sweep(ctx context.Context) error {
	jobs, err := i.cfg.Jobs.List(ctx)
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, j := range jobs {
		var a args
		if j.Kind == Kind && !j.State.Ended() && json.Unmarshal(j.Args, &a) == nil {
			needed[a.Stage] = true
		}
	}
	return i.stage.Sweep(needed)
}

// sweepAlong sweeps before something new comes. What is not swept now is the next time.
func (i *Intake) sweepAlong(ctx context.Context) {
	if err := i.Sweep(ctx); err != nil {
		i.cfg.Log.Warn("transfers that nobody goes on with were not removed", "error", err)
	}
}
