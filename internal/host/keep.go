package host

import (
	"context"
	"log/slog"
	"time"

	"github.com/droveway/droveway/internal/hypervisor"
)

const (
	nudgeEvery = 500 * time.Millisecond
	guardEvery = time.Second
)

// watchInstance publishes each change of an instance, and sets a guest going
// again that an I/O error of its origin has stopped.
func (a *Agent) watchInstance(ctx context.Context, m *machine, inst hypervisor.Instance) {
	var told diskWait
	for {
		changed := inst.Changed()
		a.changed()
		wait := a.nudge(ctx, m, inst, &told)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-wait:
		}
	}
}

// nudge lets a guest go on whose disk answered with an error: the host that has
// it may be back, the disk read again, or have room. It returns when to look again;
// nil: at the next change.
func (a *Agent) nudge(ctx context.Context, m *machine, inst hypervisor.Instance, w *diskWait) <-chan time.Time {
	switch m.record().Role {
	case RoleHydrating, RoleHome, RoleLeaving:
	default:
		return nil
	}
	s, err := stateOf(ctx, inst)
	if err != nil {
		return time.After(nudgeEvery)
	}
	mv, ok := inst.(hypervisor.Mover)
	if !ok || s == hypervisor.Gone {
		return nil
	}
	h, err := mv.Hydration(ctx)
	again := err == nil && a.whole(ctx, m, mv, s, h, w)
	again = a.reviewNoted(ctx, m) || again
	if s != hypervisor.Stuck && (err != nil || !h.Paused) {
		w.over(a.cfg.Log, m.name)
		if again {
			return time.After(nudgeEvery)
		}
		return nil
	}
	w.goesOn(a.cfg.Log, m.name, h.Error)
	if err := a.resume(ctx, m, mv); err != nil {
		a.cfg.Log.Debug("not yet", "machine", m.name, "error", err)
	}
	return time.After(nudgeEvery)
}

// diskWait is a guest that waits for its disk: one line of the log, however often the
// disk is tried, and none for a moment, as each take-over has one.
type diskWait struct {
	since   time.Time
	told    bool
	settled time.Time // when its disks were last asked to leave their origin
}

func (w *diskWait) goesOn(log *slog.Logger, machine, why string) {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	if !w.told && time.Since(w.since) >= nudgeEvery {
		w.told = true
		log.Warn("the machine waits for its disk", "machine", machine, "error", why)
	}
}

func (w *diskWait) over(log *slog.Logger, machine string) {
	if w.told {
		log.Info("the machine's disk answers again", "machine", machine, "after", time.Since(w.since))
	}
	*w = diskWait{settled: w.settled}
}

// resume lets a guest and its copies go on, a copy that begins anew at the rate
// that was ordered.
func (a *Agent) resume(ctx context.Context, m *machine, mv hypervisor.Mover) error {
	if err := mv.Resume(ctx); err != nil {
		return err
	}
	if o := m.record().Origin; o != nil && o.Rate > 0 {
		return mv.SetRate(ctx, o.Rate)
	}
	return nil
}

// guard looks after the secondary of a machine until it is ended: if it was
// killed, another one takes its place at the same address, and the target finds
// it there. It is the guard itself that starts another, so there is one for all
// of them.
func (a *Agent) guard(m *machine) {
	m.see.Lock()
	defer m.see.Unlock()
	if m.seen = m.rec; m.guard != nil {
		return
	}
	ctx, cancel := context.WithCancel(a.tasks.ctx)
	m.guard = cancel
	a.tasks.wait.Go(func() {
		tick := time.NewTicker(guardEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				a.keepServing(ctx, m)
			}
		}
	})
}

func (a *Agent) keepServing(ctx context.Context, m *machine) {
	if !m.record().Exported || m.serves(ctx) {
		return
	}
	if !m.mu.TryLock() {
		return // a command is at work; the next tick looks again
	}
	defer m.mu.Unlock()
	if ctx.Err() != nil || m.rec.Role != RoleSecondary {
		return
	}
	if sec := m.serving(); sec == nil || !sec.Alive(ctx) {
		a.cfg.Log.Warn("the secondary has died: starting another", "machine", m.name)
	}
	if err := a.export(ctx, m); err != nil {
		a.cfg.Log.Error("the disks are not served: the machine waits", "machine", m.name, "error", err)
	}
}
