package qemu

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/droveway/droveway"
)

// Settle ends the use of the origins if whole agrees. A disk that has left its
// origin already shows that an earlier call got that far, and whole is not asked
// again. The origins' nodes are removed last, once the guest goes on: as long as
// one is there the call is not done.
func (i *Instance) Settle(ctx context.Context, whole func(context.Context) error) error {
	return i.exclusive(ctx, "settle", func() error {
		h, err := i.hydration(ctx)
		if err != nil || h.Settled {
			return err
		}
		if !h.Ready {
			return droveway.Errorf(droveway.Conflict, "its disks are not mirrored in full")
		}
		begun, err := i.pivoted(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(i.settle(ctx, whole, begun), i.goOn(ctx)); err != nil {
			return err
		}
		return i.dropOrigins(ctx)
	})
}

// pivoted reports whether any disk has left its origin.
func (i *Instance) pivoted(ctx context.Context) (bool, error) {
	drives, err := i.drives(ctx)
	for n, node := range drives {
		if node == localNode(n) || i.fills(n) { // of the latter there is nothing to compare
			return true, nil
		}
	}
	return false, err
}

// goOn lets the guest go on after Settle, or after one that was interrupted.
func (i *Instance) goOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pivotWithin)
	defer cancel()
	if run, err := i.runState(ctx); err != nil || run != "paused" {
		return err
	}
	return i.execute(ctx, "cont", nil, nil)
}

// pivotWithin bounds the change of all disks from their origin to the local file.
const pivotWithin = 30 * time.Second

func (i *Instance) settle(ctx context.Context, whole func(context.Context) error, begun bool) error {
	if err := i.hold(ctx); err != nil {
		return err
	}
	if !begun {
		if err := whole(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return i.unavailable(context.Cause(ctx))
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pivotWithin)
	defer cancel()
	for n := range i.h.Spec.Disks {
		if err := i.pivot(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// hold stops the guest, which makes QEMU flush every block node, and brings the
// local files to the disk: the guest's own flushes went to the origin alone.
func (i *Instance) hold(ctx context.Context) error {
	if err := i.execute(ctx, "stop", nil, nil); err != nil {
		return err
	}
	for _, d := range i.h.Spec.Disks {
		if err := flush(d.Path); err != nil {
			return droveway.Errorf(droveway.Unavailable, "flush disk %s: %w", d.Name, err)
		}
	}
	return nil
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// pivot ends the mirror of a disk, which makes the local file the guest's disk.
func (i *Instance) pivot(ctx context.Context, n int) error {
	node, err := i.drive(ctx, n)
	if err != nil {
		return err
	}
	switch {
	case i.fills(n):
		err = i.leaveFilled(ctx, n)
	case node == topNode(n):
		err = i.complete(ctx, n)
	case node == bothNode(n):
		err = i.leaveBoth(ctx, n)
	}
	if err != nil {
		return err
	}
	if node, err = i.drive(ctx, n); err != nil {
		return err
	}
	if node != localNode(n) {
		return droveway.Errorf(droveway.Conflict, "disk %s stays on its origin", i.h.Spec.Disks[n].Name)
	}
	return i.dismiss(ctx, n)
}

func (i *Instance) complete(ctx context.Context, n int) error {
	jobs, err := i.jobs(ctx)
	if err != nil {
		return err
	}
	j := jobs[syncJob(n)]
	if j.Ready {
		if err := i.execute(ctx, "job-complete", object{"id": j.ID}, nil); err != nil {
			return err
		}
	}
	err = i.until(ctx, func() (bool, error) {
		jobs, err := i.jobs(ctx)
		j = jobs[syncJob(n)]
		return j.concluded(), err
	})
	if err == nil && j.Error != "" {
		err = droveway.Errorf(droveway.Conflict, "mirror of disk %s: %s", i.h.Spec.Disks[n].Name, j.Error)
	}
	return err
}

func (i *Instance) dropOrigins(ctx context.Context) error {
	there, err := i.nodes(ctx)
	if err != nil {
		return err
	}
	for n := range i.h.Spec.Disks {
		if err := i.dropNode(ctx, there, originNode(n)); err != nil {
			return err
		}
	}
	return nil
}
