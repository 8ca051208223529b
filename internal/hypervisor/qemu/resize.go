package qemu

import (
	"context"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

var _ hypervisor.Resizer = (*Instance)(nil)

// Resize makes a disk larger; QEMU tells the guest. The handle keeps the size
// that the disk began with.
func (i *Instance) Resize(ctx context.Context, disk string, size int64) error {
	return i.exclusive(ctx, "resize disk "+disk+" of", func() error {
		n := slices.IndexFunc(i.h.Spec.Disks, func(d hypervisor.Disk) bool { return d.Name == disk })
		if n < 0 {
			return droveway.Errorf(droveway.NotFound, "there is no such disk")
		}
		if _, err := i.must(ctx, hypervisor.Running, hypervisor.Paused, hypervisor.Stuck); err != nil {
			return err
		}
		return i.resize(ctx, n, size)
	})
}

func (i *Instance) resize(ctx context.Context, n int, size int64) error {
	node, err := i.drive(ctx, n)
	if err != nil {
		return err
	}
	whole := true
	if i.fills(n) {
		if whole, err = i.filled(ctx, n); err != nil {
			return err
		}
	}
	if node != localNode(n) || !whole {
		return droveway.Errorf(droveway.Conflict, "it still hydrates: it can grow once it is whole")
	}
	have, err := i.nodeSize(ctx, node)
	if err != nil {
		return err
	}
	if have > size {
		return droveway.Errorf(droveway.Invalid, "it has %d bytes and %d are wanted: it can only grow", have, size)
	}
	if have < size {
		if err := i.execute(ctx, "block_resize", object{"node-name": node, "size": size}, nil); err != nil {
			return err
		}
	}
	// QEMU leaves it to the kernel when the new length reaches the disk.
	return flush(i.h.Spec.Disks[n].Path)
}

// nodeSize is how many bytes a block node has, as its user sees it.
func (i *Instance) nodeSize(ctx context.Context, name string) (int64, error) {
	all, err := i.blockNodes(ctx)
	if err != nil {
		return 0, err
	}
	for _, n := range all {
		if n.Name == name {
			return n.Image.Size, nil
		}
	}
	return 0, droveway.Errorf(droveway.Internal, "block node %s is not there", name)
}
