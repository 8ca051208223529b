package registry

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
)

// Change changes the hive in a file: do is given the editor, and if it and all that
// follows succeed, the new hive takes the old one's place at once. Whatever happens
// in between, a crash too, the file is the old hive or the new one.
func Change(file string, now time.Time, do func(*Editor) error) error {
	info, err := os.Lstat(file)
	if err != nil {
		return droveway.Errorf(droveway.NotFound, "change registry hive: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxHive {
		return droveway.Errorf(droveway.Invalid, "change registry hive %s: no file of at most %d MiB", file, maxHive>>20)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "change registry hive: %w", err)
	}
	e, err := Edit(b, now)
	if err != nil {
		return err
	}
	if err := do(e); err != nil {
		return err
	}
	if b, err = e.Bytes(); err != nil {
		return err
	}
	if err := replace(file, b, info.Mode().Perm()); err != nil {
		return droveway.Errorf(droveway.Unavailable, "change registry hive: %w", err)
	}
	return nil
}

// replace writes a file beside the old one, and renames it once it is on the disk.
// Its name is always the same, so that a crash leaves no more than one of them.
func replace(file string, b []byte, mode os.FileMode) error {
	beside := file + ".droveway-new"
	if err := os.Remove(beside); err != nil && !os.IsNotExist(err) {
		return err
	}
	// It must be ours: a guest could have left a link of that name.
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(beside, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
