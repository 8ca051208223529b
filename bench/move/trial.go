package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/check"
)

// guest is the machine of a trial, the same in every mode.
type guest struct {
	image    string // path of the disk to begin with
	sizeMiB  int64
	userData string
}

// method is one way to move a guest, for one trial.
type method interface {
	// boot starts the guest on the first host, with a disk of its own.
	boot(ctx context.Context, g guest) error
	// move brings it to the second host. It returns when the first is not
	// needed any more.
	move(ctx context.Context) (moved, error)
	// halt ends the guest on the second host and gives the path of its disk.
	halt(ctx context.Context) (disk string, err error)
	// clear removes what there is, whatever happened before.
	clear(ctx context.Context) error
}

// moved is what only a method itself can know of its move.
type moved struct {
	running  time.Time      // when the guest ran on the second host
	downtime time.Duration  // QEMU's own figure
	sync     *time.Duration // how long the disk took; nil: not told apart
}

func (b *bed) method(t trial) method {
	switch t.Mode {
	case switchFirst:
		return &product{bed: b}
	case preCopy:
		return &pair{bed: b}
	case virshCopy:
		return &domain{bed: b}
	case virshSync:
		return &domain{bed: b, flags: []string{"--copy-storage-synchronous-writes"}}
	}
	panic("unknown mode " + t.Mode) // parseModes lets none through
}

// What a trial may take: more than any that goes well.
const (
	trialTime      = 3 * time.Minute
	trialTimeOfMiB = 150 * time.Millisecond
	clearTime      = time.Minute
)

// trial boots a guest, moves it and looks at what is left.
func (b *bed) trial(ctx context.Context, t trial) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialTime+time.Duration(t.DiskMiB)*trialTimeOfMiB)
	defer cancel()
	image, err := b.images.get(ctx, t.DiskMiB)
	if err != nil {
		return r, err
	}
	w, err := b.watch(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	m := b.method(t)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
		defer cancel()
		err = errors.Join(err, m.clear(ctx))
	}()
	if err := m.boot(ctx, guest{image: image, sizeMiB: t.DiskMiB, userData: w.userData}); err != nil {
		return r, fmt.Errorf("start the guest: %w", err)
	}
	if err := w.steady(ctx); err != nil {
		return r, err
	}
	return measure(ctx, t, m, w)
}

// measure makes the move and takes the figures.
func measure(ctx context.Context, t trial, m method, w *witness) (result, error) {
	r := result{trial: t, Filled: true}
	begun := time.Now()
	how, err := m.move(ctx)
	if err != nil {
		return r, fmt.Errorf("move: %w", err)
	}
	done := time.Now()
	if err := w.goesOn(ctx, how.running); err != nil {
		return r, err
	}
	r.RequestToRunning, r.RequestToDone = ms(how.running.Sub(begun)), ms(done.Sub(begun))
	r.QEMUDowntime = ms(how.downtime)
	if how.sync != nil {
		seconds := tenths(ms(*how.sync)) / 1000
		r.Sync = &seconds
	}
	w.gaps(&r, begun, how.running, done)
	disk, err := m.halt(ctx)
	if err != nil {
		return r, fmt.Errorf("stop the guest: %w", err)
	}
	noted := w.observer.Summary()
	found, err := check.Tiny(ctx, disk, droveway.Raw, noted)
	if err != nil {
		return r, err
	}
	r.Acknowledged, r.Lost, r.Wrong = found.Acknowledged, found.Lost, noted.Wrong()
	return r, nil
}

func ms(d time.Duration) float64 { return tenths(float64(d) / float64(time.Millisecond)) }
