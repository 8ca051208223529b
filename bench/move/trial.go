package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/scene"
)

// method is one way to bring a guest to the other host, for one trial.
type method interface {
	// boot starts the guest where the last trial left it, and gives the path of
	// its disk there.
	boot(ctx context.Context) (disk string, err error)
	// watch is who watches the guest, once it was booted.
	watch() *scene.Watch
	// move brings it to the other host. It returns when the first is not needed
	// any more.
	move(ctx context.Context) (moved, error)
	// check ends the guest and holds its disk against what was noted.
	check(ctx context.Context) (check.Result, error)
	// forget removes the guest, whatever happened before: the next trial makes
	// it anew.
	forget(ctx context.Context) error
}

// moved is what only a method itself can know of its move.
type moved struct {
	running  time.Time // when the guest ran on the second host; zero: it booted there
	downtime figure    // QEMU's own, ms
	sync     figure    // how long the disk took, ms; none: not told apart
}

func (b *bed) method(t trial) method {
	switch t.Mode {
	case switchFirst, quickRestart:
		return &product{bed: b, trial: t}
	case preCopy:
		return &pair{bed: b, trial: t}
	case virshCopy:
		return &domain{bed: b, trial: t}
	case virshSync:
		return &domain{bed: b, trial: t, flags: []string{"--copy-storage-synchronous-writes"}}
	case copyRestart:
		return &operator{domain{bed: b, trial: t}}
	}
	panic("unknown mode " + t.Mode) // parseModes lets none through
}

// What a trial may take: more than any that goes well.
const (
	trialTime      = 2 * time.Minute
	trialTimeOfMiB = 50 * time.Millisecond
	clearTime      = time.Minute
)

// trial boots a guest, moves it and looks at what is left.
func (b *bed) trial(ctx context.Context, t trial) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialTime+time.Duration(t.DiskMiB)*trialTimeOfMiB)
	defer cancel()
	m := b.method(t)
	defer func() {
		if err == nil && r.Lost+r.Wrong == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
		defer cancel()
		err = errors.Join(err, m.forget(ctx))
	}()
	disk, err := m.boot(ctx)
	if err != nil {
		return r, fmt.Errorf("start the guest: %w", err)
	}
	w := newWitness(ctx, m.watch())
	defer w.end()
	if err := chill(disk); err != nil {
		return r, err
	}
	if err := w.steady(ctx); err != nil {
		return r, err
	}
	if r, err = measure(ctx, t, m, w); err != nil {
		return r, err
	}
	found, err := m.check(ctx)
	if err != nil {
		return r, fmt.Errorf("look at the disk: %w", err)
	}
	r.Acknowledged, r.Lost, r.Wrong = found.Acknowledged-w.before.durable, found.Lost, w.wrong()
	return r, nil
}

// measure makes the move and takes the figures.
func measure(ctx context.Context, t trial, m method, w *witness) (result, error) {
	r := result{trial: t, Filled: true}
	r.Downtime, r.SyncRate = none(), none()
	begun := time.Now()
	how, err := m.move(ctx)
	if err != nil {
		return r, fmt.Errorf("%s: %w", t.Mode, err)
	}
	done := time.Now()
	if t.Mode.restarts() {
		away, back, err := w.bootedAgain(ctx)
		if err != nil {
			return r, err
		}
		how.running, r.Downtime = back, ms(back.Sub(away))
		if done.Before(back) {
			done = back
		}
	}
	if err := w.goesOn(ctx, how.running); err != nil {
		return r, err
	}
	r.RequestToRunning, r.RequestToDone = ms(how.running.Sub(begun)), ms(done.Sub(begun))
	r.QEMUDowntime, r.Sync = how.downtime, how.sync/1000
	if r.Sync > 0 {
		r.SyncRate = (figure(t.DiskMiB) / r.Sync).rounded()
	}
	w.figures(&r, begun, how.running, done)
	return r, nil
}
