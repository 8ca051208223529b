package jobtest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
)

type state struct{ Place string }

type step = job.Step[state]

// world is a place that is taken and given back, and a counter.
type world struct {
	taken   map[string]int
	counter int
}

func (w *world) take(ctx context.Context, r *job.Run[state]) error {
	r.State.Place = "b"
	if err := r.Save(ctx); err != nil {
		return err
	}
	w.taken["b"] = 1
	return nil
}

func (w *world) give(_ context.Context, r *job.Run[state]) error {
	delete(w.taken, r.State.Place)
	return nil
}

// faults are jobs with one mistake each, which Run must find; "" has none.
var faults = map[string]func(w *world) []step{
	"": func(w *world) []step {
		return []step{{Name: "take", Do: w.take, Undo: w.give}, {Name: "use", Do: w.set, Undo: w.unset}, {Name: "give", Do: w.give}}
	},
	"no undo": func(w *world) []step {
		return []step{{Name: "take", Do: w.take}, {Name: "use", Do: w.set, Undo: w.unset}, {Name: "give", Do: w.give}}
	},
	"a do that cannot be repeated": func(w *world) []step {
		more := func(context.Context, *job.Run[state]) error { w.counter++; return nil }
		return []step{{Name: "take", Do: w.take, Undo: w.give}, {Name: "use", Do: more, Undo: w.unset}, {Name: "give", Do: w.give}}
	},
	"an undo that cannot be repeated": func(w *world) []step {
		less := func(context.Context, *job.Run[state]) error { w.counter--; return nil }
		return []step{{Name: "take", Do: w.take, Undo: w.give}, {Name: "use", Do: w.set, Undo: less}, {Name: "give", Do: w.give}}
	},
	"memory that is not saved": func(w *world) []step {
		var place string
		take := func(context.Context, *job.Run[state]) error { place = "b"; w.taken[place]++; return nil }
		give := func(context.Context, *job.Run[state]) error { w.taken[place]--; place = ""; return nil }
		return []step{{Name: "take", Do: take, Undo: give}, {Name: "use", Do: w.set, Undo: w.unset}, {Name: "give", Do: give}}
	},
}

func (w *world) set(context.Context, *job.Run[state]) error   { w.counter = 1; return nil }
func (w *world) unset(context.Context, *job.Run[state]) error { w.counter = 0; return nil }

// TestFault runs one of the faults; TestFindsFaults runs it in a process of its
// own, where it may fail.
func TestFault(t *testing.T) {
	jobtest.Run(t, func(*testing.T) jobtest.World[state] {
		w := &world{taken: map[string]int{}}
		return jobtest.World[state]{
			Steps: faults[os.Getenv("JOBTEST_FAULT")](w),
			Check: func(t *testing.T, succeeded bool) {
				want := 0
				if succeeded {
					want = 1
				}
				for place, n := range w.taken {
					if n != 0 {
						t.Errorf("%d left at %q", n, place)
					}
				}
				if w.counter != want {
					t.Errorf("counter %d, want %d", w.counter, want)
				}
			},
		}
	})
}

func TestFindsFaults(t *testing.T) {
	t.Parallel()
	for fault := range faults {
		if fault == "" {
			continue
		}
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestFault$")
			cmd.Env = append(os.Environ(), "JOBTEST_FAULT="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL") {
				t.Errorf("it was not found: %v\n%s", err, out)
			}
		})
	}
}
