package volume

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/droveway/droveway"
)

// fileError gives an error of the file system its kind; nil stays nil.
func fileError(attempt, path string, err error) error {
	if err == nil {
		return nil
	}
	return droveway.Errorf(kindOfFile(err), "%s %s: %w", attempt, path, err)
}

func kindOfFile(err error) droveway.Kind {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return droveway.NotFound
	case errors.Is(err, fs.ErrPermission):
		return droveway.Permission
	case full(err):
		return droveway.Unavailable
	}
	return droveway.KindOf(err)
}

// full reports whether there is no room left, on the disk or in a quota.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// NoRoom explains why a write to path failed, of which needed bytes at least were
// still to come: if the disk is full, it says what is missing.
func NoRoom(err error, path string, needed int64) error {
	if !full(err) {
		return fileError("write", path, err)
	}
	free, ferr := FreeBytes(filepath.Dir(path))
	if ferr != nil {
		free = 0 // it is full, after all
	}
	return droveway.Errorf(droveway.Unavailable, "no room for %s: at least %d MiB are missing and %d MiB are free; make room or use another host: %w",
		path, mib(needed), free>>20, err)
}

// mib rounds up.
func mib(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

// FreeBytes is what an unprivileged process may still write to the file system
// of dir.
func FreeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fileError("ask for the free room of", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
