package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/observer"
)

// Where scripts/build-debian-image puts the file system, and the guest program
// its records.
const (
	debianRoot    = 1 << 20 // bytes
	debianRecords = "/var/lib/droveway-guest/records"
)

// Debian checks the disk of a guest with Debian, as its kernel would find it
// after a power cut: on a copy, the file system's journal is replayed first.
func Debian(ctx context.Context, disk string, format droveway.Format, s observer.Summary) (Result, error) {
	var r Result
	err := withCopy(ctx, disk, format, debianRoot, func(root string) error {
		if err := repair(ctx, root); err != nil {
			return err
		}
		records := filepath.Join(filepath.Dir(root), "records")
		dump := exec.CommandContext(ctx, "debugfs", "-R", "dump "+debianRecords+" "+records, root)
		if out, err := dump.CombinedOutput(); err != nil {
			return fmt.Errorf("debugfs: %w: %s", err, out)
		}
		return openRecords(records, func(f *os.File, size int64) (err error) {
			r, err = Region(f, size, s)
			return err
		})
	})
	if err != nil {
		return Result{}, fmt.Errorf("check disk %s: %w", disk, err)
	}
	return r, nil
}

// repair runs e2fsck(8), which ends with 1 when it has mended something, as it
// does when it replays a journal.
func repair(ctx context.Context, root string) error {
	out, err := exec.CommandContext(ctx, "e2fsck", "-p", root).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if ok && exit.ExitCode() == 1 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the file system is damaged: e2fsck: %w: %s", err, out)
	}
	return nil
}

func openRecords(path string, f func(*os.File, int64) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("no records in %s of the disk: %w", debianRecords, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return f(file, info.Size())
}
