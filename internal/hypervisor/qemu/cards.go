package qemu

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

var _ hypervisor.Carded = (*Instance)(nil)

// descriptor duplicates one that the process has.
func (p *process) descriptor(n int) (fd int, err error) {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(pidfd uintptr) { fd, err = unix.PidfdGetfd(int(pidfd), n, 0) }); cerr != nil {
		return 0, cerr
	}
	return fd, err
}

// TAPs takes the descriptors out of the process, which has had them since it was
// started, whoever started it (pidfd_getfd(2)).
func (i *Instance) TAPs() (taps []*os.File, err error) {
	for n, c := range i.h.Spec.NICs {
		fd, err := i.proc.descriptor(nextFD + n)
		if err != nil {
			for _, t := range taps {
				err = errors.Join(err, t.Close())
			}
			return nil, i.about("take the taps of", droveway.Errorf(droveway.Internal, "network card %s: %w", c.ID, err))
		}
		taps = append(taps, os.NewFile(uintptr(fd), c.ID)) // non-blocking, as QEMU made it
	}
	return taps, nil
}
