package origin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/source"
	"github.com/droveway/droveway/internal/nbd"
	"github.com/droveway/droveway/internal/volume"
)

// Config is what origins stand on.
type Config struct {
	Dir      string        // made if it is missing
	HTTP     *http.Client  // nil: one of its own
	Patience time.Duration // how long a read waits for a source that is away or says nothing before it fails, and twice that if it has to wait for its turn; 0: 20 s
	Log      *slog.Logger
}

type httpClient = http.Client

// patience is less than a guest's hypervisor waits for its host's connection: who
// reads hears that there is nothing, stops the guest, and asks again.
const patience = 20 * time.Second

// Origins are the sources that machines run from.
type Origins struct {
	cfg Config

	mu   sync.Mutex
	open map[string]*origin
}

// New opens those that an earlier process has kept, when they are asked for.
func New(cfg Config) (*Origins, error) {
	if cfg.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 2 * (aheadMost + views + bulkViews) // requests follow each other closely
		cfg.HTTP = source.NewClient(t)
	}
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fileError("make", cfg.Dir, err)
	}
	return &Origins{cfg: cfg, open: map[string]*origin{}}, nil
}

// Request says what a machine is to run from.
type Request struct {
	Link   string // may hold secrets
	Shown  string // where that is, for people; empty: the link without its secrets
	Disk   string // which disk of an archive, by number or name; empty: its only one
	SHA256 string // that the source must have; empty: any
}

// Offer looks at a source, by a few parts of it, and makes an origin of it. Errors:
// Invalid for what is no image; Unsupported for a server that gives no parts of
// files for certain; Conflict, with what would have to change, for a system that
// does not start here as it is; Unavailable if the server has no room for it.
func (o *Origins) Offer(ctx context.Context, r Request) (droveway.Origin, error) {
	if err := droveway.ValidSHA256(r.SHA256); err != nil {
		return droveway.Origin{}, err
	}
	if r.Shown == "" {
		r.Shown = source.Shown(r.Link)
	}
	got, err := o.offer(ctx, r)
	if err != nil {
		return droveway.Origin{}, droveway.Errorf(droveway.KindOf(err), "%s: %w", r.Shown, err)
	}
	return got, nil
}

func (o *Origins) offer(ctx context.Context, r Request) (_ droveway.Origin, err error) {
	file, err := source.Open(ctx, o.cfg.HTTP, r.Link)
	if err != nil {
		return droveway.Origin{}, err
	}
	if !file.CanGoOn() {
		return droveway.Origin{}, droveway.Missing("ranges", "its server gives no parts of files, or does not say of which version they are (ETag, Last-Modified): import it whole, without --switch-first")
	}
	free, err := volume.FreeBytes(o.cfg.Dir)
	if err == nil && file.Size > free {
		err = droveway.Errorf(droveway.Unavailable, "no room on the server: %d MiB may come and %d MiB are free: make room: %w", file.Size>>20, free>>20, syscall.ENOSPC)
	}
	if err != nil {
		return droveway.Origin{}, err
	}
	id := strings.ToLower(rand.Text())
	x := &origin{dir: filepath.Join(o.cfg.Dir, id), about: about{Link: r.Link, Tag: file.Tag, Disk: r.Disk, Origin: droveway.Origin{
		Name: id, Created: time.Now().UTC(), Ordered: strings.ToLower(r.SHA256),
		Source: droveway.ImageSource{Location: r.Shown, Bytes: file.Size},
	}}}
	defer func() {
		if err != nil {
			x.remove()
		}
	}()
	if err := guarded(func() error { return x.survey(ctx, o) }); err != nil {
		return droveway.Origin{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[id] = x
	return x.state(), nil
}

// survey finds out what the source is, and keeps it.
func (x *origin) survey(ctx context.Context, o *Origins) error {
	if err := os.Mkdir(x.dir, 0o700); err != nil {
		return fileError("make", x.dir, err)
	}
	if err := x.open(o.cfg.HTTP, o.cfg.Patience, o.cfg.Log); err != nil {
		return err
	}
	v, src, disk, err := newView(ctx, x.store, x.Disk)
	if err != nil {
		return err
	}
	x.Origin.Source.Format, x.Origin.Source.Member = src.Format, disk.Member
	x.Origin.From, x.Origin.Size, x.Origin.Notes = disk.From, disk.Size, src.Notes
	if err := x.preflight(ctx, v.disk); err != nil {
		return err
	}
	b, err := json.Marshal(x.about)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "keep what is known of an origin: %w", err)
	}
	path := filepath.Join(x.dir, aboutFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fileError("write", path, err)
	}
	return fileError("rename", path, os.Rename(path+".new", path))
}

func (x *origin) remove() {
	if x.store != nil {
		x.store.close()
	}
	_ = removeOrigin(x.dir) // Sweep comes back to it
}

// removeOrigin removes what is said of an origin first: without it nothing of the rest
// is believed, wherever a kill leaves it.
func removeOrigin(dir string) error {
	about := filepath.Join(dir, aboutFile)
	if err := os.Remove(about); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fileError("remove", about, err)
	}
	return fileError("remove", dir, os.RemoveAll(dir))
}

// validID keeps names from outside within the directory.
func validID(id string) bool { return regexp.MustCompile(`^[a-z0-9]{20,40}$`).MatchString(id) }

// find gives an origin, which it opens if need be.
func (o *Origins) find(id string) (*origin, error) {
	if !validID(id) {
		return nil, droveway.Errorf(droveway.NotFound, "there is no such origin")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.open[id]; x != nil {
		return x, nil
	}
	x, err := o.load(id)
	if err != nil {
		return nil, err
	}
	o.open[id] = x
	return x, nil
}

// Open is what an nbd.Server opens exports by.
func (o *Origins) Open(_ context.Context, id string) (nbd.Export, error) { return o.find(id) }

// Get tells how an origin is; NotFound if there is none.
func (o *Origins) Get(id string) (droveway.Origin, error) {
	x, err := o.find(id)
	if err != nil {
		return droveway.Origin{}, err
	}
	return x.state(), nil
}

// Verify reads all of an origin's source and compares its checksum with the one
// that was ordered: Invalid if it is another one. It may be repeated; what was
// fetched once is not fetched again.
func (o *Origins) Verify(ctx context.Context, id string, progress func(done, total int64)) error {
	x, err := o.find(id)
	if err != nil {
		return err
	}
	return x.verify(ctx, progress)
}

// Remove forgets an origin; it does nothing if there is none.
func (o *Origins) Remove(id string) error {
	if !validID(id) {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.open[id]; x != nil {
		delete(o.open, id)
		x.remove()
		return nil
	}
	return removeOrigin(filepath.Join(o.cfg.Dir, id))
}

// Sweep removes the origins that nobody keeps, once they have been there for some
// time: what was offered is not used at once.
func (o *Origins) Sweep(keep func(id string) bool, after time.Duration) error {
	entries, err := os.ReadDir(o.cfg.Dir)
	if err != nil {
		return fileError("read", o.cfg.Dir, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || keep(e.Name()) || time.Since(info.ModTime()) < after {
			continue
		}
		o.cfg.Log.Info("an origin that no machine needs is removed", "origin", e.Name()[:min(6, len(e.Name()))])
		if err := o.Remove(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// Close ends what is under way; what was fetched is kept.
func (o *Origins) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, x := range o.open {
		x.store.close()
		delete(o.open, id)
	}
}
