package job

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

// SubmitOptions are what a caller may add.
type SubmitOptions struct {
	// RequestID makes Submit repeatable: the same kind and RequestID name the
	// same job, for as long as it is kept. Empty: a new job each time.
	RequestID string
}

// Submit puts down a job to be run. subject is the object it works on, as
// "machine/web-1"; args, which must be fit for JSON, go to the kind's steps. The
// job is run by whichever Manager runs, even after a kill of this one. A
// RequestID that was used for another subject or other arguments is Conflict.
func (m *Manager) Submit(ctx context.Context, kind, subject string, args any, opts SubmitOptions) (droveway.Job, error) {
	rec, err := m.compose(kind, subject, args)
	if err != nil {
		return droveway.Job{}, err
	}
	rec.Job.Name = jobName(kind, opts.RequestID)
	err = m.table.Create(ctx, rec.Job.Name, *rec)
	if opts.RequestID == "" || !droveway.Is(err, droveway.Exists) {
		return rec.Job, err
	}
	old, err := m.Get(ctx, rec.Job.Name)
	if err != nil {
		return droveway.Job{}, err
	}
	if old.Subject != subject || !bytes.Equal(old.Args, rec.Job.Args) {
		return droveway.Job{}, used(opts.RequestID, old)
	}
	return old, nil
}

func (m *Manager) compose(kind, subject string, args any) (*Record, error) {
	k, err := m.kind(kind)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "arguments of a job of kind %s: %w", kind, err)
	}
	p, err := k.plan(raw)
	if err != nil {
		return nil, err
	}
	rec, err := p.record()
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	rec.Job.Created, rec.Job.Updated = now, now
	rec.Job.Kind, rec.Job.Subject, rec.Job.Args = kind, subject, raw
	return rec, nil
}

// jobName makes the name of a job: random, or always the same for a request.
func jobName(kind, request string) string {
	if request == "" {
		request = rand.Text()
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + request))
	return kind + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

func used(requestID string, by droveway.Job) error {
	return droveway.Errorf(droveway.Conflict, "request id %q was used for another job, %s of %s: use a new one", requestID, by.Name, by.Subject)
}

// Find looks for the job that an earlier Submit made for a request. An empty
// identifier finds none. One that was used for another subject is Conflict.
func (m *Manager) Find(ctx context.Context, kind, subject, requestID string) (droveway.Job, bool, error) {
	if requestID == "" {
		return droveway.Job{}, false, nil
	}
	j, err := m.Get(ctx, jobName(kind, requestID))
	switch {
	case droveway.Is(err, droveway.NotFound):
		return j, false, nil
	case err == nil && j.Subject != subject:
		return droveway.Job{}, false, used(requestID, j)
	}
	return j, err == nil, err
}

// Cancel asks a job to undo what it has done and end. It returns before that has
// happened. A job that has ended, or whose point of no return has begun, is
// Conflict.
func (m *Manager) Cancel(ctx context.Context, name string) error {
	_, err := m.table.Update(ctx, name, func(r *Record) error {
		if r.Job.State == droveway.JobUnwinding || r.Job.Cancel && !r.Job.State.Ended() {
			return errNothingToDo
		}
		return r.Cancel()
	})
	if errors.Is(err, errNothingToDo) {
		return nil
	}
	return err
}

// Amend changes the arguments of a job that has not ended, for its steps to read
// by Run.Args; which steps there are must not depend on what it changes. change is
// given the job as it is, and may be called more than once.
func (m *Manager) Amend(ctx context.Context, name string, change func(droveway.Job) (args any, err error)) (droveway.Job, error) {
	rec, err := m.table.Update(ctx, name, func(r *Record) error {
		if r.Job.State.Ended() {
			return droveway.Errorf(droveway.Conflict, "job %s has ended: there is nothing to change", name)
		}
		args, err := change(r.Job)
		if err != nil {
			return err
		}
		if r.Job.Args, err = json.Marshal(args); err != nil {
			return droveway.Errorf(droveway.Invalid, "arguments of job %s: %w", name, err)
		}
		return nil
	})
	return rec.Job, err
}

var errNothingToDo = errors.New("nothing to do")

// Get reads a job.
func (m *Manager) Get(ctx context.Context, name string) (droveway.Job, error) {
	rec, _, err := m.table.Get(ctx, name)
	return rec.Job, err
}

// List reads all jobs, oldest first.
func (m *Manager) List(ctx context.Context) ([]droveway.Job, error) {
	recs, err := m.table.List(ctx)
	if err != nil {
		return nil, err
	}
	jobs := make([]droveway.Job, len(recs))
	for i, r := range recs {
		jobs[i] = r.Job
	}
	slices.SortStableFunc(jobs, func(a, b droveway.Job) int { return a.Created.Compare(b.Created) })
	return jobs, nil
}

// Watch calls fn with a job as it is, then with each change of it, until it has
// ended: then it returns nil. A job that is not there, or is deleted, is
// NotFound.
func (m *Manager) Watch(ctx context.Context, name string, fn func(droveway.Job) error) error {
	if _, err := m.Get(ctx, name); err != nil {
		return err
	}
	err := m.table.WatchOne(ctx, name, func(c store.Change[Record]) error {
		switch {
		case c.Synced:
			return nil
		case c.Deleted:
			return droveway.Errorf(droveway.NotFound, "job %s was deleted", name)
		}
		if err := fn(c.Value.Job); err != nil {
			return err
		}
		if c.Value.Job.State.Ended() {
			return errNothingToDo
		}
		return nil
	})
	if errors.Is(err, errNothingToDo) {
		return nil
	}
	return err
}
