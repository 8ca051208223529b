package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/droveway/droveway"
)

// Waits is since when a machine is held up by what a job does with it. It is part of the
// job's state.
type Waits struct {
	Since int64 `json:"since"` // Unix ms; 0: it is not
	Told  bool  `json:"told"`  // it was said by an event
}

// WaitsTold is how long that is before it is news.
const WaitsTold = 2 * time.Second

// Teller says by events how a machine fares with a job.
type Teller struct {
	Events       droveway.Publisher
	Machine, Job string
	Log          *slog.Logger
}

// Held notes that the machine is held up, and says so if that lasts, which it reports.
func (w *Waits) Held(ctx context.Context, t Teller, why string) (lasts bool) {
	if w.Since == 0 {
		w.Since = time.Now().UnixMilli()
	}
	if time.Since(time.UnixMilli(w.Since)) < WaitsTold {
		return false
	}
	if w.Told {
		return true
	}
	if err := w.Tell(ctx, t, "machine.waits", why); err != nil {
		t.Log.Warn("no event says that the machine waits", "error", err)
		return true
	}
	w.Told = true
	return true
}

// GoesOn says that the machine is held up no more, if it was said that it is.
func (w *Waits) GoesOn(ctx context.Context, t Teller) error {
	if w.Told {
		if err := w.Tell(ctx, t, "machine.goes-on", ""); err != nil {
			return err
		}
	}
	*w = Waits{}
	return nil
}

// Tell publishes an event about the job; once, however often it is repeated.
func (w *Waits) Tell(ctx context.Context, t Teller, kind, reason string) error {
	b, err := json.Marshal(map[string]string{"job": t.Job, "reason": reason})
	if err != nil {
		return err
	}
	return t.Events.Publish(ctx, droveway.Event{
		ID: fmt.Sprintf("%s-%s-%d", t.Job, kind, w.Since), Type: kind, Subject: subject(t.Machine), Source: source, Data: b,
	})
}

func (f *filling) teller() Teller {
	return Teller{Events: f.c.cfg.Events, Machine: f.machine.Name, Job: f.r.Job, Log: f.r.Log}
}

// isHeld notes why the disks come no further, and says so if it lasts.
func (f *filling) isHeld(ctx context.Context, why string) {
	f.waits = why
	if f.r.State.Waits.Held(ctx, f.teller(), why) {
		f.r.Waits(why)
		f.show(ctx, why)
	}
}

func (f *filling) goesOn(ctx context.Context) error {
	w := &f.r.State.Waits
	f.waits = ""
	f.r.Waits("")
	if w.Told {
		f.show(ctx, "")
	}
	return w.GoesOn(ctx, f.teller())
}

// show writes why the disks come no further into the record of the machine. If that
// fails, or the machine is another one by now, the next look finds out.
func (f *filling) show(ctx context.Context, why string) {
	if f.shown == why && why != "" {
		return
	}
	err := f.change(ctx, func(m *droveway.Machine) {
		if m.Status.Filling == nil {
			m.Status.Filling = &droveway.Filling{Job: f.r.Job}
		}
		m.Status.Filling.Waits = why
	})
	if err != nil {
		f.r.Log.Debug("the machine does not say what it waits for", "error", err)
		return
	}
	f.shown = why
}

// meter adds the rate of late and the time that is left to a progress.
type meter struct {
	at   time.Time
	done int64 // at that time
	rate float64
}

const (
	meterEvery  = time.Second
	meterWeight = 0.3 // of the last measurement
)

func (m *meter) measure(p droveway.Progress) droveway.Progress {
	past := time.Since(m.at)
	switch {
	case m.at.IsZero() || p.Done < m.done:
		*m = meter{at: time.Now(), done: p.Done}
	case past >= meterEvery:
		last := float64(p.Done-m.done) / past.Seconds()
		if m.rate > 0 {
			last = meterWeight*last + (1-meterWeight)*m.rate
		}
		*m = meter{time.Now(), p.Done, last}
	}
	p.Rate = int64(m.rate)
	if m.rate >= 1 && p.Total > p.Done {
		p.Remaining = int64(float64(p.Total-p.Done) / m.rate * 1000)
	}
	return p
}
