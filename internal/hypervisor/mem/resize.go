package mem

import (
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Resize makes a disk larger while the guest runs.
func (i *Instance) Resize(_ context.Context, name string, size int64) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Resize")
	if err != nil {
		return err
	}
	if s != hypervisor.Running && s != hypervisor.Paused && s != hypervisor.Stuck {
		return i.conflict("Resize", s)
	}
	d, err := i.disk(name)
	if err != nil {
		return err
	}
	if d.spec.Format != droveway.Raw {
		return droveway.Missing("mem.qcow2", "disk %s is %s: in memory only raw disks grow while they are used", name, d.spec.Format)
	}
	return d.resize(size)
}

func (d *disk) resize(size int64) error {
	d.io.Lock()
	defer d.io.Unlock()
	switch {
	case d.origin != nil:
		return droveway.Errorf(droveway.Conflict, "disk %s still hydrates: it can grow once it is whole", d.spec.Name)
	case d.file == nil:
		return errClosed
	}
	fi, err := d.file.Stat()
	if err != nil {
		return err
	}
	switch have := fi.Size(); {
	case have == size:
		return nil
	case have > size:
		return droveway.Errorf(droveway.Invalid, "disk %s has %d bytes and %d are wanted: it can only grow", d.spec.Name, have, size)
	}
	if err := d.file.Truncate(size); err != nil {
		return err
	}
	return d.file.Sync()
}
