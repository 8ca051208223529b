package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// Disk is the disk of one host.
type Disk struct {
	Image string // the file with its bytes
	Path  string // where its file system is mounted
}

// front is the file of FUSE in front of the image.
func (d Disk) front() string { return d.Image + ".front" }

// Prepare makes the image and the file in front of it, which Serve is to be
// called for next.
func (d Disk) Prepare(mib int64) (front string, err error) {
	for path, size := range map[string]int64{d.Image: mib << 20, d.front(): 0} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return "", err
		}
		if err := os.Truncate(path, size); err != nil {
			return "", err
		}
	}
	return d.front(), nil
}

// Served reports whether the file in front of the image is served.
func (d Disk) Served() bool {
	info, err := os.Stat(d.front())
	return err == nil && info.Size() > 0
}

// Mount makes a file system on the served disk and mounts it.
func (d Disk) Mount(ctx context.Context) error {
	if err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", d.front()); err != nil {
		return err
	}
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return err
	}
	return run(ctx, "mount", "-o", "loop,noatime", d.front(), d.Path)
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return droveway.Errorf(droveway.Unavailable, "%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// filler is the file that fills a disk.
func (d Disk) filler() string { return filepath.Join(d.Path, "filler") }

const block = 4096 // bytes

// Fill leaves no free block on the disk.
func (d Disk) Fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for size, piece := int64(0), int64(1)<<30; piece >= block; {
		err := unix.Fallocate(int(f.Fd()), 0, size, piece)
		switch {
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case err != nil:
			return fmt.Errorf("fill %s: %w", d.Path, err)
		default:
			size += piece
		}
	}
	return nil
}

// Empty takes back what Fill did.
func (d Disk) Empty() error { return os.Remove(d.filler()) }

// Spoil makes what is now in a file of the disk unreadable.
func (d Disk) Spoil(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := extents(f)
	if err != nil {
		return err
	}
	var ranges strings.Builder
	for _, e := range all {
		fmt.Fprintln(&ranges, e.offset, e.length)
	}
	next := spoiltFile(d.Image) + ".new"
	if err := os.WriteFile(next, []byte(ranges.String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(next, spoiltFile(d.Image)); err != nil {
		return err
	}
	// What the kernel has of it in memory can be read without the disk.
	return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// Heal makes everything readable again.
func (d Disk) Heal() error { return os.Remove(spoiltFile(d.Image)) }
