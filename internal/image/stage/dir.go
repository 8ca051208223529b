package stage

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/droveway/droveway"
)

// Keep is how long what nobody goes on with is kept.
const Keep = 7 * 24 * time.Hour

// What stands beside a file: its record, and one that is being written.
const (
	recordSuffix = ".json"
	newRecord    = ".json~"
)

// Dir is a directory of files on their way in. Methods may be called at the same
// time; a directory has one Dir.
type Dir struct {
	path string

	mu   sync.Mutex
	open map[string]bool
}

// OpenDir opens a directory, makes it if there is none, and removes what nobody
// has gone on with for the time of Keep.
func OpenDir(path string, log *slog.Logger) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fileError("make", path, err)
	}
	d := &Dir{path: path, open: map[string]bool{}}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fileError("read", path, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < Keep {
			continue
		}
		log.Info("remove a transfer that nobody goes on with", "file", e.Name())
		if err := os.Remove(filepath.Join(path, e.Name())); err != nil {
			return nil, fileError("remove", e.Name(), err)
		}
	}
	return d, nil
}

// identifier is what a transfer may be called.
var identifier = regexp.MustCompile(`^[a-z0-9]{8,64}$`)

// Open opens a file, and makes it if there is none. Only one may have it open:
// Conflict.
func (d *Dir) Open(id string) (*File, error) {
	release, err := d.claim(id)
	if err != nil {
		return nil, err
	}
	f, err := d.load(id)
	if err != nil {
		release()
		return nil, err
	}
	f.release = release
	return f, nil
}

// Has reports whether there is a file.
func (d *Dir) Has(id string) bool {
	if !identifier.MatchString(id) {
		return false
	}
	_, err := os.Stat(d.file(id))
	return err == nil
}

// Remove removes a file, if there is one; Conflict if it is open.
func (d *Dir) Remove(id string) error {
	release, err := d.claim(id)
	if err != nil {
		return err
	}
	defer release()
	// The record first: a file without one begins anew.
	for _, path := range []string{d.file(id) + recordSuffix, d.file(id) + newRecord, d.file(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileError("remove", path, err)
		}
	}
	return nil
}

func (d *Dir) claim(id string) (release func(), err error) {
	if !identifier.MatchString(id) {
		return nil, droveway.Errorf(droveway.Invalid, "transfer %q: a name of 8 to 64 lower-case letters and digits is needed", id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[id] {
		return nil, droveway.Errorf(droveway.Conflict, "transfer %s is under way: wait until it has ended", id)
	}
	d.open[id] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.open, id)
	}, nil
}

func (d *Dir) file(id string) string { return filepath.Join(d.path, id) }

// fileError gives an error of the file system its kind.
func fileError(attempt, path string, err error) error {
	kind := droveway.Internal
	if errors.Is(err, fs.ErrPermission) {
		kind = droveway.Permission
	}
	return droveway.Errorf(kind, "%s %s: %w", attempt, path, err)
}
