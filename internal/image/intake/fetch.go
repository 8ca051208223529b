package intake

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/image/source"
	"github.com/droveway/droveway/internal/image/stage"
)

const (
	// maxRestarts is how often a transfer begins anew that cannot go on.
	maxRestarts = 5

	pauseMin = 200 * time.Millisecond
	pauseMax = 15 * time.Second
)

// fetch brings the source to the disk. An upload is there already.
func (w work) fetch(ctx context.Context, r *run) error {
	f, err := w.stage.Open(w.Stage)
	if err != nil {
		return passing(err)
	}
	defer f.Close()
	if !f.Whole() && f.About().Link == "" {
		return droveway.Errorf(droveway.NotFound, "the upload of image %s is gone or not whole: send it again", w.Name)
	}
	t := transfer{work: w, r: r, f: f, heard: time.Now()}
	return t.run(ctx)
}

// transfer is a source that is being fetched.
type transfer struct {
	work
	r     *run
	f     *stage.File
	heard time.Time // when a byte came last
}

// run goes on after every cut, until the source is whole or gives nothing for long.
func (t *transfer) run(ctx context.Context) error {
	pause := pauseMin
	for !t.f.Whole() {
		heard := t.heard
		err := t.once(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if pointless(err) || time.Since(t.heard) > t.cfg.Patience {
			return job.Permanent(err)
		}
		if t.heard != heard {
			pause = pauseMin
		}
		t.r.Log.Warn("the transfer was cut and goes on", "image", t.Name, "bytes", t.f.Offset(), "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
	}
	return nil
}

// pointless reports whether another attempt would end alike: a full disk does.
func pointless(err error) bool {
	return !droveway.Is(err, droveway.Unavailable) || full(err)
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// permanent marks the errors of a full disk, which the job would else try again.
func permanent(err error) error {
	if full(err) {
		return job.Permanent(err)
	}
	return err
}

// once reads the source until it ends or the connection does.
func (t *transfer) once(ctx context.Context) error {
	remote, err := source.Open(ctx, t.cfg.HTTP, t.f.About().Link)
	if err != nil {
		return err
	}
	if err := t.goOn(ctx, remote); err != nil {
		return err
	}
	if err := t.checkRoom(remote.Size - t.f.Offset()); err != nil {
		return err
	}
	body, err := remote.From(ctx, t.f.Offset())
	if errors.Is(err, source.ErrChanged) {
		return droveway.Errorf(droveway.Unavailable, "%s: %w", t.Location, err) // it is opened anew
	}
	if err != nil {
		return err
	}
	defer body.Close()
	m := newMeter(t.r, remote.Size, t.f.Offset())
	return t.f.Append(ctx, body, func(done int64) {
		t.heard = time.Now()
		m.show(done)
	})
}

// goOn makes sure that what is here and what is to come are of the same contents.
// If that is not certain, the transfer begins anew.
func (t *transfer) goOn(ctx context.Context, remote *source.Remote) error {
	about := t.f.About()
	now := stage.About{Link: about.Link, Tag: remote.Tag, Size: max(remote.Size, 0)}
	var err error
	switch {
	case t.f.Offset() == 0:
	case !remote.CanGoOn():
		err = t.anew(ctx, "the server cannot give the rest of a file for certain")
	case about != now:
		err = t.anew(ctx, "the source has changed meanwhile")
	}
	if err != nil {
		return err
	}
	return permanent(t.f.Remember(now))
}

func (t *transfer) anew(ctx context.Context, why string) error {
	s := t.r.State
	if s.Restarts >= maxRestarts {
		return droveway.Errorf(droveway.Conflict, "the transfer was cut again after it had begun anew %d times: %s", maxRestarts, why)
	}
	s.Restarts++
	s.note("the transfer began anew: " + why)
	t.r.Log.Warn("the transfer begins anew", "image", t.Name, "bytes", t.f.Offset(), "reason", why)
	if err := t.r.Save(ctx); err != nil {
		return err
	}
	return t.f.Reset()
}
