package qemu

import (
	"context"
	"errors"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/qmp"
)

// A disk that is filled from an origin which is only read is made of these nodes:
//
//	device ─▶ top ─▶ local (qcow2) ─▶ origin
//	           └ the copy's filter, while it is under way
//
// The guest's writes go to local, whose own tables say what it has. That it lacks
// something stands in its header, as the name of a backing file that does not exist:
// without the origin nobody can open it by mistake. The end of the copy takes the
// name out.

// fills reports whether a disk began without all of its bytes.
func (i *Instance) fills(n int) bool { return i.h.Spec.Disks[n].Filled != nil }

// openFilled gives the guest, before its first instruction, the disks that are not
// whole. The command line cannot: QEMU reads certificates once, and copies of them
// are gone afterwards.
func (i *Instance) openFilled(ctx context.Context) error {
	for n, d := range i.h.Spec.Disks {
		if !i.fills(n) {
			continue
		}
		if err := i.openOne(ctx, n, d); err != nil {
			return droveway.Errorf(droveway.KindOf(err), "disk %s: %w", d.Name, err)
		}
	}
	return nil
}

func (i *Instance) openOne(ctx context.Context, n int, d hypervisor.Disk) error {
	node, err := i.drive(ctx, n)
	if err != nil || node != blankNode(n) {
		return err
	}
	creds, err := i.tls(ctx, client)
	if err != nil {
		return err
	}
	if err := i.connectReadOnly(ctx, originNode(n), *d.Filled, creds); err != nil {
		return err
	}
	local := fileNode(localNode(n), d)
	local["backing"] = originNode(n)
	if err := i.addNode(ctx, localNode(n), local); err != nil {
		return err
	}
	if err := i.setDrive(ctx, n, localNode(n)); err != nil {
		return err
	}
	return i.execute(ctx, "blockdev-del", object{"node-name": blankNode(n)}, nil)
}

// fillAll begins to copy what the disks lack.
func (i *Instance) fillAll(ctx context.Context) error {
	for n, d := range i.h.Spec.Disks {
		if !i.fills(n) {
			continue
		}
		if err := i.fill(ctx, n, d.Filled.Rate); err != nil {
			return droveway.Errorf(droveway.KindOf(err), "fill disk %s: %w", d.Name, err)
		}
	}
	return nil
}

// fill begins to copy what a disk lacks. The job waits to be ended by leaveFilled.
func (i *Instance) fill(ctx context.Context, n int, rate int64) error {
	return i.streamInto(ctx, n, rate, object{"device": localNode(n), "filter-node-name": topNode(n)})
}

// leaveFilled ends the copy of a disk, which makes its file whole. The guest is
// held, and all that was copied is on the disk: what the header says must not come
// true before.
func (i *Instance) leaveFilled(ctx context.Context, n int) error {
	i.graph.Lock()
	defer i.graph.Unlock()
	jobs, err := i.jobs(ctx)
	if err != nil {
		return err
	}
	j, ok := jobs[syncJob(n)]
	if ok && !j.streamed() {
		return droveway.Errorf(droveway.Conflict, "its copy is %s", j.Status)
	}
	if ok {
		if err := i.execute(ctx, "job-finalize", object{"id": j.ID}, nil); err != nil {
			return err
		}
	}
	return flush(i.h.Spec.Disks[n].Path)
}

// mustBeWhole refuses what needs all bytes of all disks.
func (i *Instance) mustBeWhole(ctx context.Context) error {
	for n, d := range i.h.Spec.Disks {
		if !i.fills(n) {
			continue
		}
		if whole, err := i.filled(ctx, n); err != nil || !whole {
			return errors.Join(err, droveway.Errorf(droveway.Conflict, "disk %s is not whole yet: it is still filled from its origin", d.Name))
		}
	}
	return nil
}

// askFilled finds out whether a disk can be filled from an origin.
func (p *platform) askFilled(ctx context.Context, c *qmp.Client) error {
	var all []struct{ Name string }
	if err := c.Execute(ctx, "query-commands", nil, &all); err != nil {
		return err
	}
	p.found[hypervisor.FilledCapability] = "no: this QEMU has no block-stream"
	for _, command := range all {
		if command.Name == "block-stream" {
			p.found[hypervisor.FilledCapability] = "yes"
		}
	}
	return nil
}
