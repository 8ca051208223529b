// Package disk is a host's disk in a lab: an ext4 file system of its own, which
// can be filled, and files on which can be made unreadable, as if the sectors
// under them had gone bad.
//
//	ext4 ── loop device ── a file of FUSE ── the image
//
// The file of FUSE is served by a process of its own, that answers reads of
// spoilt ranges with EIO. So the error comes up through the kernel as a real
// disk's does; writes succeed, as with sectors that cannot be read.
//
// It touches its own files, one loop device and two mounts, which end with the
// mount namespace, or by Unmount.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Serve shows an image as the file at path until it is unmounted.
func Serve(image, path string) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	kernel, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	defer unix.Close(kernel)
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0", kernel, unix.S_IFREG|0o600)
	if err := unix.Mount("droveway-disk", path, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	s := server{kernel: kernel, image: f, size: info.Size(), spoilt: newSpoilt(image).hits}
	return s.serve()
}

// spoilt is the ranges of an image that cannot be read, as they stand in a file
// beside it: the process that serves them needs no other way to be told.
type spoilt struct {
	path string
	mu   sync.Mutex
	seen time.Time // when the file was changed that ranges are from
	all  []extent
}

func newSpoilt(image string) *spoilt { return &spoilt{path: spoiltFile(image)} }

func spoiltFile(image string) string { return image + ".spoilt" }

// hits reports whether a read touches one of them.
func (s *spoilt) hits(offset int64, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.all, s.seen = nil, time.Time{}
		return false
	}
	if err == nil && info.ModTime() != s.seen {
		s.seen, s.all = info.ModTime(), readExtents(s.path)
	}
	for _, e := range s.all {
		if offset < e.offset+e.length && e.offset < offset+int64(n) {
			return true
		}
	}
	return false
}

// extent is a range of bytes.
type extent struct{ offset, length int64 }

func readExtents(path string) (all []extent) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		var e extent
		if _, err := fmt.Sscan(line, &e.offset, &e.length); err == nil {
			all = append(all, e)
		}
	}
	return all
}
