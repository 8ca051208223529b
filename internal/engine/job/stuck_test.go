package job_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// watched runs a job of one point of no return that cannot be undone, and keeps what
// there is to see of it.
type watched struct {
	at   []time.Time // of the attempts
	told []droveway.Job
	memory
	changes func() <-chan struct{} // nil: none are heard of
}

func (w *watched) run(t *testing.T, do func(*job.Run[none]) error) *job.Record {
	t.Helper()
	steps := []step{{Name: "point", Point: true, Do: func(_ context.Context, r *job.Run[none]) error {
		w.at = append(w.at, time.Now())
		return do(r)
	}}}
	rec, err := job.NewRecord(steps)
	if err != nil {
		t.Fatal(err)
	}
	err = job.Execute(t.Context(), rec, steps, job.Env{
		Journal: w, Log: slog.New(slog.DiscardHandler), Changes: w.changes,
		Changed: func(r job.Record) { w.told = append(w.told, r.Job) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// until fails with err for a time.
func until(end time.Time, err error) func(*job.Run[none]) error {
	return func(*job.Run[none]) error {
		if time.Now().Before(end) {
			return err
		}
		return nil
	}
}

// A step that is refused each time and cannot be given up is not hammered: it says
// once that it needs somebody, and goes on soon after the cause is mended.
func TestStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, begun := &watched{}, time.Now()
		rec := w.run(t, until(begun.Add(3*time.Hour), droveway.Errorf(droveway.Conflict, "machine web-1 is home here")))
		if rec.Job.State != droveway.JobSucceeded || !rec.Job.Stuck.IsZero() {
			t.Errorf("the job %s, stuck since %s; want succeeded and no more", rec.Job.State, rec.Job.Stuck)
		}
		if n := len(w.at); n > 380 {
			t.Errorf("%d attempts in three hours", n)
		}
		if late := w.at[len(w.at)-1].Sub(begun.Add(3 * time.Hour)); late > 30*time.Second {
			t.Errorf("it goes on %s after the cause was mended", late)
		}
		var told int
		for _, j := range w.told {
			if j.Stuck.IsZero() {
				continue
			}
			told++
			if since := j.Stuck.Sub(begun); since > time.Minute || j.Retry != "machine web-1 is home here" {
				t.Errorf("stuck after %s with %q", since, j.Retry)
			}
		}
		if told != 1 {
			t.Errorf("told %d times that the job is stuck, want once", told)
		}
	})
}

// The waits of a job that is stuck grow from those before without a leap.
func TestStuckGrowsSmoothly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		w.run(t, until(time.Now().Add(10*time.Minute), droveway.Errorf(droveway.Conflict, "no")))
		var before time.Duration
		for n := 1; n < len(w.at); n++ {
			pause := w.at[n].Sub(w.at[n-1])
			if n > 1 && (pause < before || pause > 2*before) || pause > 30*time.Second {
				t.Errorf("%s after %s before attempt %d", pause, before, n+1)
			}
			before = pause
		}
		if before != 30*time.Second {
			t.Errorf("the last wait is %s", before)
		}
	})
}

// A job that is stuck goes on soon after a sign that something has changed, however
// short before it had tried; a swarm of signs is one attempt, and one that comes during
// an attempt is not missed.
func TestStuckHearsOfChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := job.NewManager(job.ManagerConfig{})
		w, begun := &watched{changes: m.Changes}, time.Now()
		mended := begun.Add(10 * time.Minute)
		go func() {
			time.Sleep(5 * time.Minute) // it is stuck long since
			for range 500 {
				m.Nudge()
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Until(mended))
			m.Nudge()
		}()
		w.run(t, func(r *job.Run[none]) error {
			if at := time.Now(); at.Sub(begun) > 8*time.Minute && at.Before(mended) {
				time.Sleep(mended.Add(time.Millisecond).Sub(at)) // at work when it is mended
				return droveway.Errorf(droveway.Conflict, "as it was when the attempt began")
			}
			return until(mended, droveway.Errorf(droveway.Conflict, "no"))(r)
		})
		var swarm int
		for _, at := range w.at {
			if since := at.Sub(begun.Add(5 * time.Minute)); since > 0 && since < 3*time.Second {
				swarm++
			}
		}
		if swarm != 1 {
			t.Errorf("%d attempts after 500 signs in half a second, want 1", swarm)
		}
		if late := w.at[len(w.at)-1].Sub(mended); late > 2*time.Second {
			t.Errorf("it goes on %s after it was mended", late)
		}
	})
}

// What is tried within seconds anyway is not tried more often for a sign: the attempts
// before the point are counted.
func TestChangesUseNoAttemptsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := job.NewManager(job.ManagerConfig{})
		w, end := &watched{changes: m.Changes}, time.Now().Add(time.Minute)
		go func() {
			for time.Now().Before(end) {
				m.Nudge()
				time.Sleep(10 * time.Millisecond)
			}
		}()
		w.run(t, until(end, droveway.Errorf(droveway.Unavailable, "host a is away")))
		if n := len(w.at); n > 20 {
			t.Errorf("%d attempts in a minute", n)
		}
	})
}

// What is away comes back by itself: it is tried every few seconds, and nobody is called.
func TestAwayIsNotStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, end := &watched{}, time.Now().Add(time.Hour)
		w.run(t, until(end, droveway.Errorf(droveway.Unavailable, "host a is away")))
		if late := w.at[len(w.at)-1].Sub(end); late > 5*time.Second {
			t.Errorf("it goes on %s after the host came back", late)
		}
		for _, j := range w.writes {
			if !j.Stuck.IsZero() {
				t.Fatalf("stuck: %+v", j)
			}
		}
	})
}

// A step that gets somewhere again is stuck no more, though it goes on for long.
func TestStuckNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		w.run(t, func(r *job.Run[none]) error {
			if len(w.at) <= 11 {
				return droveway.Errorf(droveway.Conflict, "no")
			}
			for done := range int64(3) {
				time.Sleep(time.Second)
				r.Progress(droveway.Progress{Done: done, Total: 3})
			}
			if last := w.writes[len(w.writes)-1]; !last.Stuck.IsZero() {
				t.Errorf("at %d of 3 it is stuck since %s", last.Progress.Done, last.Stuck)
			}
			return nil
		})
	})
}
