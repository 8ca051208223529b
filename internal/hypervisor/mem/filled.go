package mem

import (
	"os"

	"github.com/droveway/droveway/internal/hypervisor"
)

// fillFault, set by Fail, keeps disks from being filled.
const fillFault = "Fill"

// fills reports whether any disk is still filled from an origin. Such a disk is
// opaque, like all that are not raw: that its bytes arrive is a matter of saying so.
func (i *Instance) fills() bool {
	for _, d := range i.disks {
		if d.spec.Filled != nil {
			return true
		}
	}
	return false
}

// filling changes how far the disks are for those that are filled.
func (i *Instance) filling(h *hypervisor.Hydration) {
	if !i.fills() {
		return
	}
	h.Settled = false
	if err := i.driver.fault(fillFault); err != nil {
		h.Ready, h.Paused, h.Error, h.Done = false, true, err.Error(), 0
	}
}

// leaveFilled makes files whole: no backing file stands in their header any more.
func (i *Instance) leaveFilled() error {
	for _, d := range i.disks {
		if d.spec.Filled == nil {
			continue
		}
		f, err := os.OpenFile(d.spec.Path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(make([]byte, 12), 8) // where its name is, and how long
		if again := f.Close(); err == nil {
			err = again
		}
		if err != nil {
			return err
		}
		d.spec.Filled = nil
	}
	return nil
}
