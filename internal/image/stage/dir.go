package stage

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/droveway/droveway"
)

// Keep is how long what nobody goes on with is kept.
const Keep = 7 * 24 * time.Hour

// What stands beside a file: its record, and what is about to take the place of either.
const (
	recordSuffix = ".json"
	newRecord    = ".json~"
	newFile      = "~"
)

// ErrOpen says that somebody has a file open.
var ErrOpen = errors.New("under way: wait until that has ended")

// Dir is a directory of files on their way in. Methods may be called at the same
// time; a directory has one Dir.
type Dir struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	open map[string]bool
}

// OpenDir opens a directory, and makes it if there is none.
func OpenDir(path string, log *slog.Logger) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fileError("make", path, err)
	}
	return &Dir{path: path, log: log, open: map[string]bool{}}, nil
}

// Sweep removes what nobody has gone on with for the time of Keep, unless it is open
// or to be spared.
func (d *Dir) Sweep(spare map[string]bool) error {
	touched, err := d.touched()
	if err != nil {
		return err
	}
	for id, at := range touched {
		if spare[id] || time.Since(at) < Keep {
			continue
		}
		err := d.Remove(id)
		if errors.Is(err, ErrOpen) {
			continue
		}
		if err != nil {
			return err
		}
		d.log.Info("removed a transfer that nobody went on with", "file", id)
	}
	return nil
}

// touched tells when somebody went on last with each of the files.
func (d *Dir) touched() (map[string]time.Time, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fileError("read", d.path, err)
	}
	found := map[string]time.Time{}
	for _, e := range entries {
		id, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), newFile), ".")
		info, err := e.Info()
		if err != nil || !identifier.MatchString(id) {
			continue // removed meanwhile, or none of ours
		}
		if info.ModTime().After(found[id]) {
			found[id] = info.ModTime()
		}
	}
	return found, nil
}

// identifier is what a transfer may be called.
var identifier = regexp.MustCompile(`^[a-z0-9]{8,64}$`)

// Open opens a file, and makes it if there is none. Only one may have it open:
// Conflict, ErrOpen.
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

// Remove removes a file, if there is one; Conflict, ErrOpen if it is open.
func (d *Dir) Remove(id string) error {
	release, err := d.claim(id)
	if err != nil {
		return err
	}
	defer release()
	// The path of the directory may have characters of a pattern in it; an identifier
	// has none.
	beside, err := fs.Glob(os.DirFS(d.path), id+".*")
	if err != nil {
		return fileError("look beside", id, err)
	}
	// The record first: a file without one begins anew.
	for _, name := range slices.Concat([]string{id + recordSuffix}, beside, []string{id + newFile, id}) {
		if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileError("remove", d.file(name), err)
		}
	}
	return nil
}

// Beside is where something that is made of a file can be kept, which is removed with
// it. name has no slash.
func (d *Dir) Beside(id, name string) string { return d.file(id) + "." + name }

func (d *Dir) claim(id string) (release func(), err error) {
	if !identifier.MatchString(id) {
		return nil, droveway.Errorf(droveway.Invalid, "transfer %q: a name of 8 to 64 lower-case letters and digits is needed", id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[id] {
		return nil, droveway.Errorf(droveway.Conflict, "transfer %s is %w", id, ErrOpen)
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
