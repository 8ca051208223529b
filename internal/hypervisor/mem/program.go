package mem

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A guest that was started with Tick keeps a counter in its memory. For each
// count it writes, on every disk, a sector that begins with the counter (32 bits,
// little endian) at 64 KiB × (1 + counter mod 64), then the same to sector 1, and
// when all that is stable the counter as eight hexadecimal digits to its
// console. It goes on from sector 1 of its first disk when it boots, and says
// "boot" then.
const (
	sector    = 512
	ringUnit  = 64 << 10
	ringSlots = 64
	tickEvery = 5 * time.Millisecond
)

func (i *Instance) program() {
	if i.await() {
		i.boot()
	}
	for i.await() {
		n := i.Counter() + 1
		if !i.store(n) || !i.count(n) {
			continue
		}
		select {
		case <-i.end.Done():
		case <-time.After(tickEvery):
		}
	}
}

// count takes note of a count that is stable. A guest that was held meanwhile
// counts again when it goes on, here or elsewhere.
func (i *Instance) count(n uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !runs(i.state) {
		return false
	}
	i.counter = n
	fmt.Fprintf(i.console, "%08X\n", n)
	return true
}

func runs(s hypervisor.State) bool { return s == hypervisor.Running || s == hypervisor.Sending }

// boot is for a guest that did not get its memory from another one.
func (i *Instance) boot() {
	if i.spec.Incoming {
		return
	}
	p := make([]byte, 4)
	if len(i.disks) > 0 {
		_ = i.Read(i.disks[0].spec.Name, sector, p)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counter = uint64(binary.LittleEndian.Uint32(p))
	fmt.Fprintln(i.console, "boot")
}

// await waits until the guest runs; false: it never will.
func (i *Instance) await() bool {
	for {
		changed := i.Changed()
		switch s := i.now(); {
		case runs(s):
			return true
		case s == hypervisor.Gone || s == hypervisor.Sent:
			return false
		}
		select {
		case <-changed:
		case <-i.end.Done():
			return false
		}
	}
}

// store writes a count to all disks that can be written; false: not all of it is
// stable.
func (i *Instance) store(n uint64) bool {
	p := make([]byte, sector)
	binary.LittleEndian.PutUint32(p, uint32(n))
	for _, d := range i.disks {
		if d.spec.Format != droveway.Raw {
			continue
		}
		for _, off := range []int64{ringUnit * int64(1+n%ringSlots), sector} {
			if i.Write(d.spec.Name, off, p) != nil {
				return false
			}
		}
	}
	return true
}

// Counter is the guest's memory.
func (i *Instance) Counter() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counter
}

// Write writes to a disk as the guest, which must be running. When it returns
// without an error the bytes are stable, in the disk's origin too, if it has one.
func (i *Instance) Write(name string, off int64, p []byte) error {
	return i.access(name, func(d *disk) error { return d.write(off, p) })
}

// Read reads from a disk as the guest.
func (i *Instance) Read(name string, off int64, p []byte) error {
	return i.access(name, func(d *disk) error { return d.read(off, p) })
}

func (i *Instance) access(name string, do func(*disk) error) error {
	d, err := i.disk(name)
	if err != nil {
		return err
	}
	if d.spec.Format != droveway.Raw {
		return droveway.Missing("mem.qcow2", "disk %s is %s: a guest in memory uses raw disks only", name, d.spec.Format)
	}
	d.io.Lock()
	defer d.io.Unlock()
	// Asked with the disk locked: Pause, Held and Settle take the lock after
	// they have changed the state, and know then that nothing is under way.
	if s := i.now(); !runs(s) {
		return i.conflict("access to a disk", s)
	}
	if err := do(d); err != nil {
		i.become(hypervisor.Stuck)
		return err
	}
	return nil
}

func (i *Instance) disk(name string) (*disk, error) {
	for _, d := range i.disks {
		if d.spec.Name == name {
			return d, nil
		}
	}
	return nil, droveway.Errorf(droveway.NotFound, "machine %s has no disk %q", i.spec.Machine, name)
}
