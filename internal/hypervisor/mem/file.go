package mem

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// openLocked opens a disk for one user, as a hypervisor's image lock does: a
// second one is refused with Conflict.
func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if os.IsNotExist(err) {
		return nil, droveway.Errorf(droveway.NotFound, "open disk: %w", err)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Permission, "open disk: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, droveway.Errorf(droveway.Conflict, "disk %s is in use by another instance: %w", path, err)
	}
	return f, nil
}
