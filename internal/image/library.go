package image

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/stage"
	"github.com/droveway/droveway/internal/volume"
)

// Library is a directory of images: for each the file <name> and, written last,
// its description <name>.json. An image without a description is none. Methods
// may be called at the same time; a directory has one Library.
type Library struct {
	dir string
	log *slog.Logger

	mu        sync.Mutex
	importing map[string]bool
}

const (
	description = ".json"  // suffix; a name has no dot
	unfinished  = ".new-"  // prefix of what is being imported
	arriving    = ".stage" // directory of what is on its way in, and survives a kill
	changing    = ".work"  // directory of what is being made of images
)

// Stage opens the directory of what is on its way in. It is on the same file
// system, so that what has arrived becomes an image without a copy.
func (l *Library) Stage() (*stage.Dir, error) {
	return stage.OpenDir(filepath.Join(l.dir, arriving), l.log)
}

// Work is a directory, which need not be there, to make something of an image in: on the
// same file system, so that it becomes the image without a copy. Who uses it clears it.
func (l *Library) Work(name string) string { return filepath.Join(l.dir, changing, name) }

// Free is how many bytes the library can still take.
func (l *Library) Free() (int64, error) { return volume.FreeBytes(l.dir) }

// Open opens a library, makes its directory if there is none, and removes what
// interrupted imports have left.
func Open(dir string, log *slog.Logger) (*Library, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fileError("open image library", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fileError("make image library", dir, err)
	}
	l := &Library{dir: dir, log: log, importing: map[string]bool{}}
	return l, l.sweep()
}

func (l *Library) sweep() error {
	names, err := l.files()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !l.isLeft(name, names) {
			continue
		}
		l.log.Info("remove what an interrupted import has left", "file", name)
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			return fileError("remove", name, err)
		}
	}
	return nil
}

// isLeft reports whether a file is left from an import or a removal that did not
// come to its end: unfinished, or without its description.
func (l *Library) isLeft(name string, all []string) bool {
	if strings.HasPrefix(name, unfinished) {
		return true
	}
	return droveway.ValidName("image", name) == nil && !slices.Contains(all, name+description)
}

func (l *Library) files() ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fileError("read image library", l.dir, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Get describes an image; NotFound if there is none.
func (l *Library) Get(name string) (droveway.Image, error) {
	if err := droveway.ValidName("image", name); err != nil {
		return droveway.Image{}, err
	}
	b, err := os.ReadFile(l.path(name + description))
	if errors.Is(err, fs.ErrNotExist) {
		return droveway.Image{}, droveway.Errorf(droveway.NotFound, "no image %s: import it first", name)
	}
	if err != nil {
		return droveway.Image{}, fileError("read the description of image", name, err)
	}
	var img droveway.Image
	if err := json.Unmarshal(b, &img); err != nil {
		return droveway.Image{}, droveway.Errorf(droveway.Internal, "read the description of image %s: %w", name, err)
	}
	return img, nil
}

// Open opens an image for reading; NotFound if there is none. The file stays
// readable if the image is removed meanwhile.
func (l *Library) Open(name string) (*os.File, droveway.Image, error) {
	img, err := l.Get(name)
	if err != nil {
		return nil, droveway.Image{}, err
	}
	f, err := os.Open(l.path(name))
	if err != nil {
		return nil, droveway.Image{}, fileError("open image", name, err)
	}
	return f, img, nil
}

// List gives all images by name.
func (l *Library) List() ([]droveway.Image, error) {
	names, err := l.files()
	if err != nil {
		return nil, err
	}
	var list []droveway.Image
	for _, file := range names {
		name, ok := strings.CutSuffix(file, description)
		if !ok || droveway.ValidName("image", name) != nil {
			continue
		}
		img, err := l.Get(name)
		if droveway.Is(err, droveway.NotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, img)
	}
	return list, nil
}

// Remove removes an image; if there is none it does nothing. Machines made from
// it keep their disks.
func (l *Library) Remove(name string) error {
	if err := droveway.ValidName("image", name); err != nil {
		return err
	}
	release, err := l.claim(name)
	if err != nil {
		return err
	}
	defer release()
	return l.remove(name)
}

// remove removes the description first: without it there is no image.
func (l *Library) remove(name string) error {
	for _, file := range []string{name + description, name} {
		if err := os.Remove(l.path(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileError("remove image", name, err)
		}
	}
	return l.sync()
}

// claim keeps others from importing or removing the image.
func (l *Library) claim(name string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.importing[name] {
		return nil, droveway.Errorf(droveway.Conflict, "image %s is being imported: wait until that is over", name)
	}
	l.importing[name] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.importing, name)
	}, nil
}

func (l *Library) path(file string) string { return filepath.Join(l.dir, file) }

// sync makes renames and removals durable.
func (l *Library) sync() error {
	d, err := os.Open(l.dir)
	if err != nil {
		return fileError("flush", l.dir, err)
	}
	defer d.Close()
	return fileError("flush", l.dir, d.Sync())
}

// fileError wraps an error of the file system; nil stays nil.
func fileError(attempt, what string, err error) error {
	if err == nil {
		return nil
	}
	kind := droveway.Internal
	switch {
	case errors.Is(err, fs.ErrPermission):
		kind = droveway.Permission
	case errors.Is(err, syscall.ENOSPC):
		kind = droveway.Unavailable
	}
	return droveway.Errorf(kind, "%s %s: %w", attempt, what, err)
}
