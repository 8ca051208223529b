package migrate

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/machine"
)

// While the source is away the guest waits; the job says so, an event does, and
// another one when it goes on. SYSTEMS 6.6
func TestSourceThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	request := w.request()
	request.Rate = 4 << 20
	steps := w.moves.steps(request)
	a := w.hosts[0]
	before(steps, "hydrate", func() {
		a.stop()
		a.driver.Kill(name)
		time.AfterFunc(2*machine.WaitsTold, a.start)
	})
	if rec := w.move(steps); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	w.mustLive(1, 1)
	kinds := make([]string, 0, 2)
	for _, e := range w.events.all {
		kinds = append(kinds, e.Type)
	}
	if !slices.Equal(kinds, []string{"machine.waits", "machine.goes-on"}) {
		t.Fatalf("events %v", kinds)
	}
	var said map[string]string
	must(t, json.Unmarshal(w.events.all[0].Data, &said))
	if e := w.events.all[0]; e.Subject != "machine/"+name || said["job"] != "move-1" || !strings.Contains(said["reason"], "waits for its disks") {
		t.Errorf("event about %s: %v", e.Subject, said)
	}
}

// An attempt that fails once is no news.
func TestShortWaitIsNoNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	steps := w.moves.steps(w.request())
	for i, s := range steps {
		if s.Name == "hydrate" {
			failed := false
			steps[i].Do = w.moves.loud(func(ctx context.Context, r *run) error {
				if !failed {
					failed = true
					return droveway.Errorf(droveway.Unavailable, "not yet")
				}
				return s.Do(ctx, r)
			})
		}
	}
	if rec := w.move(steps); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	if len(w.events.all) > 0 {
		t.Errorf("events %v", w.events.all)
	}
}

func TestStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a advance
		for i, step := range []struct {
			wait time.Duration
			done int64
			want bool
		}{
			{0, 0, false},
			{stalledAfter - 1, 0, false},
			{1, 0, true},
			{stalledAfter, 0, true}, // as long as it lasts
			{0, 1, false},
			{stalledAfter, 2, false},
			{stalledAfter, 2, true},
		} {
			time.Sleep(step.wait)
			if got := a.stalled(step.done); got != step.want {
				t.Errorf("step %d: %t, want %t", i, got, step.want)
			}
		}
	})
}
