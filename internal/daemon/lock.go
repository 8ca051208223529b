package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// lock makes a data directory absolute and real, and takes it for this process.
// The kernel lets go of it with the process, however that ends.
func lock(data *string, role string) (unlock func(), err error) {
	if *data == "" {
		return nil, droveway.Errorf(droveway.Invalid, "no data directory for the %s: give --data", role)
	}
	dir, err := filepath.Abs(*data)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "data directory %s: %w", *data, err)
	}
	*data = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "make the data directory: %w", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "open the lock of the data directory: %w", err)
	}
	if err := take(f); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, droveway.Errorf(droveway.Conflict, "data directory %s is in use by process %s: stop it, or give another --data", dir, holder(f))
		}
		return nil, droveway.Errorf(droveway.Internal, "lock %s: %w", path, err)
	}
	// Who holds it is only for the message above.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return func() { _ = f.Close() }, nil
}

const (
	lockWait  = 2 * time.Second
	lockRetry = 20 * time.Millisecond
)

// take locks a file. A process that was killed while it started a child leaves
// the lock with the child until that runs its program, so it is tried for a while.
func take(f *os.File) (err error) {
	for end := time.Now().Add(lockWait); ; time.Sleep(lockRetry) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}

func holder(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return pid
	}
	return "of unknown number"
}
