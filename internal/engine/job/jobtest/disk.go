package jobtest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// maxProcesses is how many processes in a row may try to end a job.
const maxProcesses = 5

var errKilled = errors.New("killed")

// disk is what outlives the processes: the durable record, and when to kill or
// cancel.
type disk struct {
	rec job.Record

	writes    int  // all of them
	crashAt   int  // kill at this write
	kept      bool // that write reaches the disk
	cancelAt  int  // ask for an end just before this write
	back      int  // writes on the way back
	crashBack int  // kill at this one
}

func newDisk[S any](t *testing.T, w World[S]) *disk {
	t.Helper()
	rec, err := job.NewRecord(w.Steps)
	if err != nil {
		t.Fatal(err)
	}
	rec.Job.Name, rec.Job.Kind, rec.Job.Subject = "test-1", "test", "test/1"
	rec.Job.Args, err = json.Marshal(w.Args)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{rec: *rec}
}

// process is one process's view of the disk. Once killed it writes no more.
type process struct {
	*disk
	dead bool
}

// Save implements job.Journal.
func (p *process) Save(ctx context.Context, rec *job.Record) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.dead {
		return errKilled
	}
	p.writes++
	if p.writes == p.cancelAt {
		_ = p.rec.Cancel() // refused if it comes too late, as it would be in the store
	}
	if p.rec.Job.Cancel && !rec.Job.Cancel {
		rec.Job.Cancel = true
		return job.ErrCancelled
	}
	p.dead = p.killNow(rec)
	if !p.dead || p.kept {
		p.rec = clone(rec)
	}
	if p.dead {
		return errKilled
	}
	return nil
}

func (p *process) killNow(rec *job.Record) bool {
	if p.writes == p.crashAt {
		return true
	}
	if p.rec.Job.State != droveway.JobUnwinding && rec.Job.State != droveway.JobUnwinding {
		return false
	}
	p.back++
	return p.back == p.crashBack
}

// run runs the job until it ends, in a new process after each kill.
func run[S any](t *testing.T, d *disk, w World[S]) {
	t.Helper()
	for range maxProcesses {
		p := &process{disk: d}
		rec := clone(&d.rec)
		err := job.Execute(t.Context(), &rec, w.Steps, job.Env{
			Journal: p,
			Log:     slog.New(slog.DiscardHandler),
			Retry:   func(job.Failures) time.Duration { return time.Millisecond },
		})
		if err == nil {
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	t.Fatalf("the job has not ended after %d processes", maxProcesses)
}

func mustEnd[S any](t *testing.T, d *disk, w World[S], want droveway.JobState) {
	t.Helper()
	if got := d.rec.Job.State; got != want {
		t.Errorf("the job ended %s, want %s (error: %s)", got, want, d.rec.Job.Error)
	}
	w.Check(t, d.rec.Job.State == droveway.JobSucceeded)
}

// clone copies a record by the way it takes to the disk, so that a new process
// shares nothing with the killed one.
func clone(rec *job.Record) (c job.Record) {
	b, err := json.Marshal(rec)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		panic(err) // a Record is fit for JSON
	}
	return c
}
