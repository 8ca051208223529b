package disk

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctl that tells where a file lies on its device, as in fiemap.h of Linux.
const (
	fiemapIoctl = 0xc020660b
	fiemapSync  = 1 // write what is delayed first
	fiemapMost  = 256
	fiemapLast  = 1

	// placeless marks an extent that has no place of its own: delayed, encoded,
	// inline.
	placeless = 2 | 4 | 8 | 0x200
)

type fiemap struct {
	start, length             uint64
	flags, mapped, count, pad uint32
	extents                   [fiemapMost]fiemapExtent
}

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// extents finds the ranges of the device that hold a file.
func extents(f *os.File) (all []extent, err error) {
	for at, last := uint64(0), false; !last; {
		m := fiemap{start: at, length: ^uint64(0) - at, flags: fiemapSync, count: fiemapMost}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl, uintptr(unsafe.Pointer(&m))); errno != 0 {
			return nil, fmt.Errorf("find where %s lies: %w", f.Name(), errno)
		}
		last = m.mapped == 0
		for _, e := range m.extents[:m.mapped] {
			if e.flags&placeless == 0 {
				all = append(all, extent{int64(e.physical), int64(e.length)})
			}
			at, last = e.logical+e.length, e.flags&fiemapLast != 0
		}
	}
	return all, nil
}
