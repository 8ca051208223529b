package volume

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/droveway/droveway"
)

// Pool is a directory of volumes, each a file <name>.raw or <name>.qcow2. A file
// of such a name is whole; what is being made has another name until it is.
// Methods may be called at the same time; a directory has one Pool.
type Pool struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	making map[string]chan struct{} // closed when the volume's maker is done
}

const (
	unfinished = ".new-" // prefix of what is being made
	sockets    = ".nbd-" // prefix of the directories of readers
)

// Open opens a pool, makes its directory if there is none, and removes what
// interrupted work has left.
func Open(dir string, log *slog.Logger) (*Pool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fileError("open pool", dir, err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fileError("make pool", dir, err)
	}
	p := &Pool{dir: dir, log: log, making: map[string]chan struct{}{}}
	return p, p.sweep()
}

func (p *Pool) sweep() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fileError("read pool", p.dir, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), unfinished) && !strings.HasPrefix(e.Name(), sockets) {
			continue
		}
		p.log.Info("remove what interrupted work has left", "file", e.Name())
		path := filepath.Join(p.dir, e.Name())
		if err := os.RemoveAll(path); err != nil {
			return fileError("remove", path, err)
		}
	}
	return nil
}

// Path gives the file of a volume; NotFound if there is none.
func (p *Pool) Path(name string) (string, droveway.Format, error) {
	if err := validName(name); err != nil {
		return "", "", err
	}
	for _, f := range []droveway.Format{droveway.Raw, droveway.QCOW2} {
		path := p.path(name, f)
		_, err := os.Stat(path)
		if err == nil {
			return path, f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", "", fileError("look for volume", path, err)
		}
	}
	return "", "", droveway.Errorf(droveway.NotFound, "no volume %s in pool %s", name, p.dir)
}

// Size gives the bytes that a guest sees of a volume, also while one uses it.
func (p *Pool) Size(name string) (int64, error) {
	path, format, err := p.Path(name)
	if err != nil {
		return 0, err
	}
	size, err := sizeOf(path, format)
	if err != nil {
		return 0, droveway.Errorf(droveway.KindOf(err), "size of volume %s: %w", name, err)
	}
	return size, nil
}

func sizeOf(path string, format droveway.Format) (int64, error) {
	start, bytes, err := readStart(path)
	if err != nil || format == droveway.Raw {
		return bytes, err
	}
	h, err := parseQCOW2(start)
	if err != nil {
		return 0, err
	}
	return int64(h.size), checkSize(h.size)
}

// Free gives the bytes that can still be written to the pool's file system.
// Volumes are sparse: more may be promised to guests already.
func (p *Pool) Free() (int64, error) { return FreeBytes(p.dir) }

// Remove removes a volume; if there is none it does nothing. Nobody may be using
// it.
func (p *Pool) Remove(ctx context.Context, name string) error {
	if err := validName(name); err != nil {
		return err
	}
	release, err := p.claim(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	for _, f := range []droveway.Format{droveway.Raw, droveway.QCOW2} {
		path := p.path(name, f)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileError("remove volume", path, err)
		}
	}
	return syncDir(p.dir)
}

// claim waits until nobody else makes or removes the volume.
func (p *Pool) claim(ctx context.Context, name string) (release func(), err error) {
	for {
		p.mu.Lock()
		other, taken := p.making[name]
		if !taken {
			done := make(chan struct{})
			p.making[name] = done
			p.mu.Unlock()
			return func() { p.release(name, done) }, nil
		}
		p.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, droveway.Errorf(droveway.Unavailable, "wait for other work on volume %s: %w", name, context.Cause(ctx))
		}
	}
}

func (p *Pool) release(name string, done chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.making, name)
	close(done)
}

func (p *Pool) path(name string, f droveway.Format) string {
	return filepath.Join(p.dir, name+"."+string(f))
}

// validName checks a name as droveway.VolumeName makes it: labels with dots
// between them. It never leaves the directory.
func validName(name string) error {
	for label := range strings.SplitSeq(name, ".") {
		if err := droveway.ValidName("volume", label); err != nil {
			return droveway.Errorf(droveway.Invalid, "volume %q: %w", name, err)
		}
	}
	return nil
}

// syncDir makes renames and removals in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fileError("flush directory", dir, err)
	}
	defer d.Close()
	return fileError("flush directory", dir, d.Sync())
}
