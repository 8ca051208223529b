package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/droveway/droveway"
)

// waits is since when the disks of a machine come no further.
type waits struct {
	Since int64 `json:"since"` // Unix ms; 0: they do
	Told  bool  `json:"told"`  // it was said by an event
}

// waitsTold is how long that is before it is news.
const waitsTold = 2 * time.Second

// isHeld notes why the disks come no further, and says so if it lasts.
func (f *filling) isHeld(ctx context.Context, why string) {
	w := &f.r.State.Waits
	if f.waits = why; w.Since == 0 {
		w.Since = time.Now().UnixMilli()
	}
	if time.Since(time.UnixMilli(w.Since)) < waitsTold {
		return
	}
	f.r.Waits(why)
	f.show(ctx, why)
	if w.Told {
		return
	}
	if err := f.tell(ctx, "machine.waits", why); err != nil {
		f.r.Log.Warn("no event says that the machine waits", "error", err)
		return
	}
	w.Told = true
}

func (f *filling) goesOn(ctx context.Context) error {
	w := &f.r.State.Waits
	f.waits = ""
	f.r.Waits("")
	if w.Told {
		f.show(ctx, "")
		if err := f.tell(ctx, "machine.goes-on", ""); err != nil {
			return err
		}
	}
	*w = waits{}
	return nil
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

// tell publishes an event about the filling; once, however often it is repeated.
func (f *filling) tell(ctx context.Context, kind, reason string) error {
	b, err := json.Marshal(map[string]string{"job": f.r.Job, "reason": reason})
	if err != nil {
		return err
	}
	return f.c.cfg.Conn.Publish(ctx, droveway.Event{
		ID: fmt.Sprintf("%s-%s-%d", f.r.Job, kind, f.r.State.Waits.Since), Type: kind, Subject: subject(f.machine.Name), Source: source, Data: b,
	})
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
