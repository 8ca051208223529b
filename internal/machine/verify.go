package machine

import (
	"context"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// verify compares the whole source with the checksum that was ordered. Until then
// the guest ran from something that nobody vouched for.
func (f *filling) verify(ctx context.Context) error {
	f.result()
	for _, d := range f.machine.Spec.Disks {
		if d.Origin == "" {
			continue
		}
		o, err := f.c.cfg.Origins.Get(d.Origin)
		if droveway.Is(err, droveway.NotFound) {
			continue // it is done: the origin goes last
		}
		if err == nil && o.Ordered != "" && f.r.State.Differs == "" {
			err = f.verifyOne(ctx, d, o)
		}
		if err != nil {
			return err
		}
	}
	if err := f.goesOn(ctx); err != nil {
		return err
	}
	return f.r.Save(ctx)
}

func (f *filling) verifyOne(ctx context.Context, d droveway.Disk, o droveway.Origin) error {
	err := f.compare(ctx, d.Origin)
	switch {
	case droveway.Is(err, droveway.Invalid):
		f.r.State.Differs = fmt.Sprintf("disk %s was filled from %s, and %v: the machine ran from it; remove the machine", d.Name, o.Source.Location, err)
		return nil
	case err != nil:
		f.isHeld(ctx, err.Error())
		return err
	}
	f.r.State.Result.SHA256 = o.Ordered
	return nil
}

// compare reads a whole source, and says meanwhile whether it gives anything.
func (f *filling) compare(ctx context.Context, origin string) error {
	done := make(chan error, 1)
	go func() {
		done <- f.c.cfg.Origins.Verify(ctx, origin, func(done, total int64) {
			f.r.Progress(f.rate.measure(droveway.Progress{Done: done, Total: total}))
		})
	}()
	look := time.NewTicker(fillLook)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-look.C:
		}
		o, err := f.c.cfg.Origins.Get(origin)
		if err == nil && o.Waits != "" {
			f.isHeld(ctx, o.Waits)
		} else if err == nil {
			err = f.goesOn(ctx)
		}
		if err != nil {
			f.r.Log.Warn("it cannot be told how the comparison goes", "error", err)
		}
	}
}

// finish writes down that the machine needs its origins no more, and removes them.
func (f *filling) finish(ctx context.Context) error {
	s := f.r.State
	if s.Result.RequestToWhole == 0 {
		s.Result.RequestToWhole = time.Since(f.r.Submitted()).Milliseconds()
	}
	_ = f.r.Result(s.Result) // cannot fail: strings and numbers
	err := f.write(ctx, func(m *droveway.Machine) {
		m.Status.Filling = nil
		for i := range m.Spec.Disks {
			m.Spec.Disks[i].Origin = ""
		}
	})
	if err != nil {
		return err
	}
	kind := "machine.whole"
	if s.Differs != "" {
		kind = "machine.source-differs"
	}
	if err := s.Waits.Tell(ctx, f.teller(), kind, s.Differs); err != nil {
		return err
	}
	if err := f.forget(); err != nil {
		return err
	}
	if s.Differs != "" {
		f.r.Log.Error("a machine runs from a source that is not what was ordered", "machine", f.machine.Name, "reason", s.Differs)
		return job.Fail(droveway.Errorf(droveway.Invalid, "%s", s.Differs))
	}
	return nil
}
