package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A guest whose memory does not come to an end, on hosts that cannot let it follow,
// is told of with both rates; one that is still in its first passes is not.
func TestMemoryThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := &world{t: t}
	for passes, told := range map[int64]bool{maxPasses: false, maxPasses + 1: true} {
		p := hypervisor.MemoryProgress{
			State: hypervisor.Sending, Total: 1 << 30, Iterations: passes, Moved: 7 << 30, Rate: 100 << 20, DirtyRate: 250 << 20, Setup: 40 * time.Millisecond,
		}
		rec := w.move([]job.Step[state]{{Name: "memory", Do: func(ctx context.Context, r *run) error {
			r.State.Result.Memory = &Memory{Way: precopy}
			if err := (&Moves{}).converge(ctx, r, p); err != nil {
				return err
			}
			r.Result(r.State.Result)
			return nil
		}}})
		got := w.result(rec).Memory
		if got == nil || got.Passes != passes || got.LinkRate != p.Rate || got.DirtyRate != p.DirtyRate || got.Bytes != p.Moved || got.SetupMS != 40 {
			t.Fatalf("%d passes: %+v", passes, got)
		}
		why := strings.Contains(got.Why, "changes 250.0 MiB a second") && strings.Contains(got.Why, "100.0 MiB a second are sent") && strings.Contains(got.Why, "--abort")
		if why != told || !told && got.Why != "" {
			t.Errorf("%d passes: why %q", passes, got.Why)
		}
	}
}

// Memory whose passes do not end on several connections is sent in another way: the job
// tells why, both hosts are prepared anew, and the move succeeds.
func TestMemoryTakesAnotherWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	steps := w.moves.steps(w.request())
	at := slices.IndexFunc(steps, func(s job.Step[state]) bool { return s.Name == "memory" })
	do, attempts := steps[at].Do, 0
	var addresses []string
	steps[at].Do = func(ctx context.Context, r *run) error {
		addresses = append(addresses, r.State.Memory)
		if attempts++; attempts > 1 {
			err := do(ctx, r)
			addresses = append(addresses, r.State.Memory)
			return err
		}
		r.State.Way, r.State.Result.Memory = hypervisor.Parallel, &Memory{Way: parallel}
		err := w.moves.converge(ctx, r, hypervisor.MemoryProgress{State: hypervisor.Sending, Total: 1 << 30, Iterations: maxPasses + 1, Rate: 100 << 20, DirtyRate: 250 << 20})
		if !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "changes 250.0 MiB a second") {
			t.Errorf("passes that do not end: %v", err)
		}
		return err
	}
	after(steps, "switchover", func() { w.write(1, 2) })
	rec := w.move(steps)
	if rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	if got := w.result(rec).Memory; got.Way != precopy || !strings.Contains(got.Why, "did not end") || len(addresses) != 3 || addresses[1] == addresses[2] {
		t.Errorf("memory %+v, to %v", got, addresses)
	}
	w.mustLive(1, 1, 2)
}

// What contradicts itself is refused before anything is done.
func TestInstantIsNotParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	req := w.request()
	req.Instant, req.Memory = true, parallel
	if _, err := w.moves.Plan(t.Context(), req); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "--instant") {
		t.Errorf("planned: %v", err)
	}
	req.Instant = false
	var e *droveway.Error
	if _, err := w.moves.Plan(t.Context(), req); !errors.As(err, &e) || e.Feature != parallelCapability+"=yes" {
		t.Errorf("planned to a host that cannot: %v", err)
	}
}
