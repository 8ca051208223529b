package migrate

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
)

// Rate bounds, from now on, the copy of the disks of a machine that moves or
// restarts, in bytes a second; 0: no limit. It is kept in the job's arguments, so
// that whoever goes on with the job keeps to it. Errors: NotFound; Invalid for a
// negative rate; Conflict if the machine does not move, or its disks are copied.
func (m *Moves) Rate(ctx context.Context, name string, rate int64) (droveway.Job, error) {
	if err := validRate(rate); err != nil {
		return droveway.Job{}, err
	}
	mc, _, err := m.cfg.Fleet.Machines.Get(ctx, name)
	if err != nil {
		return droveway.Job{}, err
	}
	if mc.Status.Job == "" {
		return droveway.Job{}, droveway.Errorf(droveway.Conflict, "machine %s does not move: there is no copy whose rate could change", name)
	}
	return m.cfg.Jobs.Amend(ctx, mc.Status.Job, func(j droveway.Job) (any, error) { return withRate(j, rate) })
}

// withRate gives the arguments of a job with another rate.
func withRate(j droveway.Job, rate int64) (any, error) {
	switch {
	case j.Kind != Kind && j.Kind != RestartKind:
		return nil, droveway.Errorf(droveway.Conflict, "%s does not move: its job %s is a %s", j.Subject, j.Name, j.Kind)
	case slices.Contains(j.Done, "hydrate"):
		return nil, droveway.Errorf(droveway.Conflict, "the disks of %s are copied already: job %s is in step %s", j.Subject, j.Name, j.Step)
	}
	args := map[string]json.RawMessage{}
	if err := json.Unmarshal(j.Args, &args); err != nil {
		return nil, droveway.Errorf(droveway.Internal, "arguments of job %s: %w", j.Name, err)
	}
	args["rate"] = json.RawMessage(strconv.FormatInt(rate, 10))
	return args, nil
}

func validRate(rate int64) error {
	if rate < 0 {
		return droveway.Errorf(droveway.Invalid, "a copy rate of %d bytes a second: give 0, which is no limit, or more", rate)
	}
	return nil
}

// wantedRate is the rate that the arguments of a move or a restart say now.
func wantedRate(r *run) (int64, error) {
	var args struct {
		Rate int64 `json:"rate"`
	}
	err := r.Args(&args)
	return args.Rate, err
}

// firstRate leaves link, disks and processors to a guest that finds its feet on another
// host, in bytes a second.
const firstRate = 8 << 20

// atFirst is the rate of the copy when a guest goes on on another host, until the rest
// of its memory is there, if that follows. From then on hydrate sees to the rate that is
// wanted, as it does for a guest that boots: until that has given a sign of life the
// copy is held back, so that how long the boot takes does not depend on it.
func atFirst(rate int64) int64 {
	if rate == 0 {
		return firstRate
	}
	return min(rate, firstRate)
}

// pace tells the target the rate that is wanted, if it has changed.
func (m *Moves) pace(ctx context.Context, r *run) error {
	rate, err := wantedRate(r)
	if err != nil || rate == r.State.Rate {
		return err
	}
	if _, err := m.cfg.Hosts.Rate(ctx, r.State.To, host.Rate{Ref: r.State.target(), Rate: rate}); err != nil {
		return err
	}
	r.Log.Info("another rate for the copy", "bytes_per_second", rate)
	r.State.Rate = rate
	return nil
}
