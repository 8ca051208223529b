package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/source"
)

// Files of an origin, in a directory of its own.
const (
	aboutFile = "about.json" // mode 0600: the link may hold secrets
	dataFile  = "source"
	marksFile = "source.marks"
)

// views is how many requests of guests, and of copies, read one origin at the same
// time. Each holds up to 16 MiB.
const (
	views     = 2
	bulkViews = 1
)

// sector is the unit of a disk's size, in bytes.
const sector = 512

// about is what is kept of an origin.
type about struct {
	Origin droveway.Origin `json:"origin"`
	Link   string          `json:"link"`
	Tag    string          `json:"tag"` // of the version that it is of
	Disk   string          `json:"disk,omitempty"`
}

// origin is one that is open.
type origin struct {
	about
	dir   string
	store *store
	idle  chan *view // those that nobody uses
	bulk  chan *view // the same, for copies

	mu  sync.Mutex
	sum string // SHA-256 of the source, once it is known
}

// open opens an origin that was kept.
func (o *Origins) load(id string) (*origin, error) {
	dir := filepath.Join(o.cfg.Dir, id)
	b, err := os.ReadFile(filepath.Join(dir, aboutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, droveway.Errorf(droveway.NotFound, "there is no such origin any more")
	}
	if err != nil {
		return nil, fileError("read", filepath.Join(dir, aboutFile), err)
	}
	x := &origin{dir: dir}
	if err := json.Unmarshal(b, &x.about); err != nil {
		return nil, droveway.Errorf(droveway.Internal, "read what is kept of an origin: %w", err)
	}
	return x, x.open(o.cfg.HTTP, o.cfg.Patience, o.cfg.Log)
}

func (x *origin) open(client *httpClient, patience time.Duration, log *slog.Logger) error {
	from := source.Known(client, x.Link, x.Tag, x.Origin.Source.Bytes, silenceOf(patience))
	s, err := newStore(from, x.Origin.Source.Bytes, filepath.Join(x.dir, dataFile), filepath.Join(x.dir, marksFile), patience, log.With("source", x.Origin.Source.Location))
	if err != nil {
		return err
	}
	x.store, x.idle, x.bulk = s, unmade(views), unmade(bulkViews)
	return nil
}

// unmade is so many views, to be made when they are needed.
func unmade(n int) chan *view {
	c := make(chan *view, n)
	for range n {
		c <- nil
	}
	return c
}

// with lends a view for a request of n bytes.
func (x *origin) with(ctx context.Context, n int64, do func(*view) error) error {
	from := x.idle
	if n >= bulk {
		from = x.bulk
	}
	v, err := x.turn(ctx, from)
	if err != nil {
		return err
	}
	kept := v
	defer func() { from <- kept }()
	return guarded(func() error {
		kept = nil // what a reader leaves that failed is not used again
		if v == nil {
			if v, _, _, err = newView(ctx, x.store, x.Disk); err != nil {
				return err
			}
		}
		err := do(v)
		kept = v
		return err
	})
}

// guarded turns a panic of a reader into an error. The readers check what they read;
// should one of them slip, the damage is this request's alone and not the server's.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = droveway.Errorf(droveway.Internal, "read the source: a reader failed on it: %v", r)
		}
	}()
	return do()
}

// turn waits for a view that nobody uses. Those who have them may all wait for a source
// that is away; who waits behind them hears of it, too.
func (x *origin) turn(ctx context.Context, from <-chan *view) (*view, error) {
	for {
		select {
		case v := <-from:
			return v, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(x.store.patience):
			if err := x.store.waiting(); err != nil {
				return nil, err
			}
		}
	}
}

// Size is that of the disk, in whole sectors.
func (x *origin) Size() int64 { return (x.Origin.Size + sector - 1) / sector * sector }

// Read reads the disk.
func (x *origin) Read(ctx context.Context, p []byte, off int64) error {
	return x.with(ctx, int64(len(p)), func(v *view) error { return v.read(ctx, p, off) })
}

// Hole tells whether a part of the disk is empty. If that cannot be told it is not: a
// read will say what is wrong.
func (x *origin) Hole(ctx context.Context, off, n int64) (empty bool) {
	_ = x.with(ctx, n, func(v *view) error {
		empty = v.hole(ctx, off, n)
		return nil
	})
	return empty
}

// state is the origin as it is now.
func (x *origin) state() droveway.Origin {
	o := x.Origin
	o.Fetched = x.store.have()
	if err := x.store.waiting(); err != nil {
		o.Waits = o.Source.Location + ": " + err.Error()
		if errors.Is(err, source.ErrChanged) {
			o.Waits = o.Source.Location + " is not what it was when the machine began to run from it, and nothing is read of another version: put back what it was, or remove the machine"
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	o.Source.SHA256 = x.sum
	return o
}

// verify reads all of the source, fetches what was not needed yet, and compares its
// checksum with the one that was ordered.
func (x *origin) verify(ctx context.Context, progress func(done, total int64)) error {
	h := sha256.New()
	b := make([]byte, most)
	for off := int64(0); off < x.store.size; {
		p := b[:min(most, x.store.size-off)]
		if err := x.store.read(ctx, p, off, true); err != nil {
			return droveway.Errorf(droveway.Unavailable, "compare the checksum of %s: %w", x.Origin.Source.Location, err)
		}
		h.Write(p)
		off += int64(len(p))
		progress(off, x.store.size)
	}
	x.mu.Lock()
	x.sum = hex.EncodeToString(h.Sum(nil))
	x.mu.Unlock()
	return image.CheckSHA256(x.Origin.Ordered, x.sum)
}
