package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/lease"
)

// tidyTime bounds what is done after the end of a context.
const tidyTime = 2 * time.Second

// errLeave says that this Manager cannot run the job, now or later.
var errLeave = errors.New("the job is left alone")

// own runs a job until it has ended or ctx ends. False: this Manager cannot run
// it, and must not try again.
func (m *Manager) own(ctx context.Context, name string, asked <-chan int) bool {
	log := m.cfg.Log.With("job", name)
	for {
		err := m.underLease(ctx, name, asked, log)
		switch {
		case err == nil, ctx.Err() != nil, droveway.Is(err, droveway.NotFound):
			return true
		case errors.Is(err, errLeave):
			log.Error("a job cannot go on", "error", err)
			return false
		case !droveway.Is(err, droveway.Conflict): // another owner is nothing odd
			log.Warn("a job was interrupted and will be taken up again", "error", err)
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(m.cfg.LeaseTTL / 2):
		}
	}
}

// underLease runs a job while its lease is held. Nil: it has ended.
func (m *Manager) underLease(ctx context.Context, name string, asked <-chan int, log *slog.Logger) error {
	take := m.cfg.Leases.Acquire
	if m.cfg.Sole {
		take = m.cfg.Leases.Claim
	}
	l, err := take(ctx, "job."+name, m.cfg.Owner, m.cfg.LeaseTTL)
	if err != nil {
		return m.unlessEnded(ctx, name, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		if err := l.Release(ctx); err != nil {
			log.Warn("a lease will have to run out", "error", err)
		}
	}()
	held, lost := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		lost(l.Keep(held))
	}()
	err = m.execute(held, name, l, asked, log)
	lost(nil)
	<-kept
	return err
}

// unlessEnded is err, or nil if the job that somebody else runs has ended.
func (m *Manager) unlessEnded(ctx context.Context, name string, err error) error {
	rec, _, err2 := m.table.Get(ctx, name)
	switch {
	case droveway.Is(err2, droveway.NotFound):
		return nil
	case err2 == nil && rec.Job.State.Ended():
		return nil
	}
	return err
}

func (m *Manager) execute(ctx context.Context, name string, l *lease.Lease, asked <-chan int, log *slog.Logger) error {
	j, rec, err := openJournal(ctx, m.table, name, l.Token())
	if err != nil || rec.Job.State.Ended() {
		return err
	}
	p, err := m.planFor(rec)
	if err != nil {
		rec.Job.Retry = err.Error()
		return fmt.Errorf("%w: %w", errLeave, errors.Join(err, j.Save(ctx, rec)))
	}
	kind := rec.Job.Kind
	m.metrics.running.WithLabelValues(kind).Inc()
	defer m.metrics.running.WithLabelValues(kind).Dec()
	return p.execute(ctx, rec, Env{
		Journal: j, Asked: asked, Log: log, Changes: m.Changes,
		Changed: func(rec Record) { m.tell(ctx, rec, log) },
		Timed: func(step string, took time.Duration) {
			m.metrics.seconds.WithLabelValues(kind, step).Observe(took.Seconds())
		},
	})
}

// planFor gives the steps of a job that may have been begun by another version
// of the program.
func (m *Manager) planFor(rec *Record) (plan, error) {
	k, err := m.kind(rec.Job.Kind)
	if err != nil {
		return nil, err
	}
	p, err := k.plan(rec.Job.Args)
	if err != nil {
		return nil, fmt.Errorf("steps of job %s: %w", rec.Job.Name, err)
	}
	fresh, err := p.record()
	if err != nil {
		return nil, err
	}
	if !rec.fits(fresh.Job.Steps) {
		return nil, droveway.Errorf(droveway.Unsupported, "job %s was begun by a version with other steps: let that version end it", rec.Job.Name)
	}
	rec.Job.Steps, rec.Point = fresh.Job.Steps, fresh.Point
	return p, nil
}

// eventData is the Data of the events of a job.
type eventData struct {
	Job   string            `json:"job"`
	Kind  string            `json:"kind"`
	State droveway.JobState `json:"state"`
	Step  string            `json:"step,omitempty"`
	Error string            `json:"error,omitempty"` // why it failed, or is stuck
}

// tell counts and publishes a change of state or step. An event that cannot be
// published does not hold up the job.
func (m *Manager) tell(ctx context.Context, rec Record, log *slog.Logger) {
	j := rec.Job
	log.Info("job "+string(j.State), "kind", j.Kind, "step", j.Step)
	kind, why := "job.step", j.Error
	switch {
	case j.State.Ended():
		kind = "job.ended"
		m.metrics.ended.WithLabelValues(j.Kind, string(j.State)).Inc()
	case !j.Stuck.IsZero():
		kind, why = "job.stuck", j.Retry
		m.metrics.stuck.WithLabelValues(j.Kind).Inc()
	}
	if m.cfg.Publish == nil {
		return
	}
	data, err := json.Marshal(eventData{j.Name, j.Kind, j.State, j.Step, why})
	if err != nil {
		log.Error("encode an event", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	err = m.cfg.Publish(ctx, droveway.Event{
		ID: fmt.Sprintf("%s.%d", j.Name, rec.Changes), Time: j.Updated,
		Type: kind, Subject: j.Subject, Source: "server", Data: data,
	})
	if err != nil {
		log.Warn("an event was not published", "error", err)
	}
}
