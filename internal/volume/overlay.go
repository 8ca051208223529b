package volume

import (
	"context"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
)

// Overlay makes a qcow2 file that reads as the disk in backing and takes all
// writes itself, so that backing stays as it is. Whoever opens it needs to be able
// to read backing under the same absolute path.
func Overlay(ctx context.Context, path, backing string, format droveway.Format) error {
	if err := format.Validate(); err != nil {
		return err
	}
	if !filepath.IsAbs(backing) {
		return droveway.Errorf(droveway.Invalid, "overlay %s: its backing file %q: give an absolute path", path, backing)
	}
	_, err := mustRun(ctx, copying(0), "qemu-img", "create", "-q", "-f", "qcow2", "-F", string(format), "-b", backing, path)
	return err
}

// Flatten writes what an overlay of size bytes reads as into a qcow2 file of its
// own, to. If the disk is too full the error is of kind Unavailable; what it leaves
// of to then is the caller's to remove.
func Flatten(ctx context.Context, overlay, to string, size int64) error {
	_, err := mustRun(ctx, copying(size), "qemu-img", "convert", "-q", "-f", "qcow2", "-O", "qcow2", overlay, to)
	if err != nil {
		return err
	}
	return flush(to)
}

// Lend gives a file a second name, for a guest that runs as another user, and lets
// everybody read it who reaches one of its names. Who that is the modes of their
// directories say.
func Lend(path, as string) error {
	if err := os.Chmod(path, 0o644); err != nil {
		return fileError("let guests read", path, err)
	}
	return fileError("give a second name to", path, os.Link(path, as))
}
