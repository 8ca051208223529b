// Package jobtest checks that the steps of a job bear everything that may happen
// to them: a kill before or after each write of the journal, the failure of each
// step, a cancel at each moment, and being undone twice.
//
// It runs the steps as package job does, with a journal in memory, and touches
// nothing itself.
package jobtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// World is a fresh system under test: the arguments and steps of a job, and a
// check of what it left behind. succeeded tells how the job ended.
type World[S any] struct {
	Args  any
	Steps []job.Step[S]
	Check func(t *testing.T, succeeded bool)
}

// Run puts a job through everything; newWorld is called for each time anew.
func Run[S any](t *testing.T, newWorld func(t *testing.T) World[S]) {
	t.Helper()
	suite[S]{newWorld, func(*testing.T) {}}.run(t)
}

// RunParallel is Run for worlds that share nothing that their jobs change: several are
// there at a time, as most of their time may pass in waiting for disks and programs.
func RunParallel[S any](t *testing.T, newWorld func(t *testing.T) World[S]) {
	t.Helper()
	suite[S]{newWorld, (*testing.T).Parallel}.run(t)
}

// suite is all that a job is put through.
type suite[S any] struct {
	newWorld func(t *testing.T) World[S]
	begin    func(t *testing.T) // of each time
}

func (u suite[S]) run(t *testing.T) {
	t.Helper()
	writes := 0
	t.Run("undisturbed", func(t *testing.T) {
		w := u.newWorld(t)
		d := newDisk(t, w)
		run(t, d, w)
		mustEnd(t, d, w, droveway.JobSucceeded)
		writes = d.writes
	})
	if t.Failed() {
		return // everything else would fail alike
	}
	u.crashes(t, writes)
	u.cancels(t, writes)
	u.failures(t)
}

// crashes kills the job at each write on its way forward.
func (u suite[S]) crashes(t *testing.T, writes int) {
	for i := 1; i <= writes; i++ {
		for _, kept := range []bool{false, true} {
			t.Run(fmt.Sprintf("crash/write=%d/kept=%t", i, kept), func(t *testing.T) {
				u.begin(t)
				w := u.newWorld(t)
				d := newDisk(t, w)
				d.crashAt, d.kept = i, kept
				run(t, d, w)
				mustEnd(t, d, w, droveway.JobSucceeded)
			})
		}
	}
}

// cancels asks for an end at each write. Whether it comes in time is the
// record's word; both ends must be clean.
func (u suite[S]) cancels(t *testing.T, writes int) {
	for i := 1; i <= writes; i++ {
		t.Run(fmt.Sprintf("cancel/write=%d", i), func(t *testing.T) {
			u.begin(t)
			w := u.newWorld(t)
			twice(w.Steps)
			d := newDisk(t, w)
			d.cancelAt = i
			run(t, d, w)
			want := droveway.JobSucceeded
			if d.rec.Job.Cancel {
				want = droveway.JobFailed
			}
			if late := d.rec.Point != "" && slices.Contains(d.rec.Job.Done, d.rec.Point); late && d.rec.Job.State == droveway.JobSucceeded {
				want = droveway.JobSucceeded // a step that can turn may overrule it
			}
			mustEnd(t, d, w, want)
		})
	}
}

// failures fails each step before the point of no return is done, before and
// after it has acted, without and with a kill at each write on the way back.
func (u suite[S]) failures(t *testing.T) {
	for i, s := range u.newWorld(t).Steps {
		for _, acted := range []bool{false, true} {
			if acted && s.Point && s.Undo == nil {
				continue // it says Permanent only if it has not acted
			}
			t.Run(fmt.Sprintf("fail/%s/acted=%t", s.Name, acted), func(t *testing.T) {
				u.begin(t)
				back := 0
				t.Run("crash=none", func(t *testing.T) { back = failure(t, u.newWorld(t), i, acted, 0) })
				for c := 1; c <= back; c++ {
					t.Run(fmt.Sprintf("crash=%d", c), func(t *testing.T) {
						u.begin(t)
						failure(t, u.newWorld(t), i, acted, c)
					})
				}
			})
		}
		if s.Point {
			return
		}
	}
}

// failure fails step i, with a kill at the crash-th write on the way back (0:
// none), and gives the number of those writes.
func failure[S any](t *testing.T, w World[S], i int, acted bool, crash int) int {
	do := w.Steps[i].Do
	w.Steps[i].Do = func(ctx context.Context, r *job.Run[S]) error {
		if acted {
			if err := do(ctx, r); err != nil {
				return err
			}
		}
		return job.Permanent(errors.New("made to fail"))
	}
	twice(w.Steps)
	d := newDisk(t, w)
	d.crashBack = crash
	run(t, d, w)
	mustEnd(t, d, w, droveway.JobFailed)
	return d.back
}

// twice runs every undo twice.
func twice[S any](steps []job.Step[S]) {
	for i, s := range steps {
		if s.Undo == nil {
			continue
		}
		steps[i].Undo = func(ctx context.Context, r *job.Run[S]) error {
			if err := s.Undo(ctx, r); err != nil {
				return err
			}
			return s.Undo(ctx, r)
		}
	}
}
