package intake

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/bootcheck"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/preflight"
	"github.com/droveway/droveway/internal/image/source"
	"github.com/droveway/droveway/internal/image/stage"
	"github.com/droveway/droveway/internal/image/survey"
)

// Kind is the kind of the jobs.
const Kind = "image-import"

// patience is how long a source may give nothing before the import fails.
const patience = 10 * time.Minute

// Config is what an Intake stands on.
type Config struct {
	Fleet    *fleet.Fleet
	Library  *image.Library
	Jobs     *job.Manager
	Events   droveway.Publisher
	HTTP     *http.Client  // nil: one of its own
	Patience time.Duration // 0: 10 minutes
	Repairer Repairer      // nil: nothing can be repaired here
	Checker  Checker       // nil: nothing can be booted here
	Log      *slog.Logger
}

// Repairer repairs images. appliance.Appliance is one.
type Repairer interface {
	Able(ctx context.Context) error
	Repair(ctx context.Context, r appliance.Request) (*appliance.Result, error)
}

// Checker boots images. bootcheck.Checker is one.
type Checker interface {
	Ready(ctx context.Context, f droveway.Firmware) error
	Run(ctx context.Context, r bootcheck.Request) (droveway.BootCheck, error)
	Discard(ctx context.Context, name string) error
}

// Intake brings images in.
type Intake struct {
	cfg   Config
	guest chan struct{} // holds a token while a guest runs here, for a repair or a check: one at a time
	stage *stage.Dir
	keys  keyring
}

// New makes an Intake; it starts nothing.
func New(cfg Config) (*Intake, error) {
	if cfg.HTTP == nil {
		cfg.HTTP = source.NewClient(http.DefaultTransport.(*http.Transport).Clone())
	}
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	dir, err := cfg.Library.Stage()
	return &Intake{cfg: cfg, stage: dir, guest: make(chan struct{}, 1)}, err
}

// Request says what is to be imported.
type Request struct {
	Name   string // of the image
	Link   string // that the server fetches; may hold secrets
	Shown  string // where that is, for people; empty: the link without its secrets
	Upload string // name of an upload that is whole, instead of a link
	Disk   string // which disks of an archive, by number, name or machine; empty: all
	SHA256 string // that the source must have; empty: any

	Repair    droveway.Repair    // empty: auto
	Check     droveway.Check     // empty: auto
	Addresses droveway.Addresses // empty: keep
	Rebuild   droveway.Rebuild   // empty: auto
	MACs      []string           // of the machine's cards, so that they keep their names
	Keys      []luks.Key         // for encrypted volumes; they stay in memory
	VirtioWin string             // image that is a disc of virtio drivers for Windows; empty: none
}

func (r *Request) check() error {
	if err := droveway.ValidName("image", r.Name); err != nil {
		return err
	}
	if (r.Link == "") == (r.Upload == "") {
		return droveway.Errorf(droveway.Invalid, "import image %s: give the address of a source, or the name of an upload", r.Name)
	}
	if err := droveway.ValidSHA256(r.SHA256); err != nil {
		return err
	}
	if err := r.checkRepair(); err != nil || r.Link == "" {
		return err
	}
	return source.Check(r.Link)
}

func (r *Request) wishes() preflight.Wishes {
	return preflight.Wishes{Repair: r.Repair, Check: r.Check, Addresses: r.Addresses, Rebuild: r.Rebuild, Keys: r.Keys, Promised: r.VirtioWin != ""}
}

func (r *Request) checkRepair() error {
	if err := r.wishes().Validate(); err != nil {
		return err
	}
	for _, m := range r.MACs {
		if _, err := net.ParseMAC(m); err != nil {
			return droveway.Errorf(droveway.Invalid, "address of a network card %q: give six pairs of hexadecimal digits", m)
		}
	}
	return nil
}

// staged is what an upload is called in the stage. The name of the image is part of
// it, so that whoever has claimed the name has the upload.
func staged(name, upload string) string { return identifier(name, upload) }

// fetched is what the transfer of a link is called in the stage: each job has one of
// its own, and the same request has the same.
func (r *Request) fetched(requestID string) string {
	if requestID == "" {
		requestID = rand.Text()
	}
	return identifier(r.Name, "", r.Link, r.Shown, r.Disk, r.SHA256, requestID)
}

func identifier(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Plan tells what an import would do, and copies nothing. Of a server that gives
// no parts it can tell little. Errors are those for which the import would be
// refused.
func (i *Intake) Plan(ctx context.Context, r Request) (droveway.ImportPlan, error) {
	wishes, done, err := i.withDrivers(ctx, r.wishes(), r.VirtioWin)
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	defer done()
	return i.foresee(ctx, r, func(s *survey.Source, p *droveway.ImportPlan) error {
		return preflight.Foresee(ctx, s, p, r.Disk, wishes)
	})
}

// look looks into the disks of a source.
type look func(s *survey.Source, p *droveway.ImportPlan) error

func nobodyLooks(*survey.Source, *droveway.ImportPlan) error { return nil }

func (i *Intake) foresee(ctx context.Context, r Request, look look) (droveway.ImportPlan, error) {
	if err := r.check(); err != nil {
		return droveway.ImportPlan{}, err
	}
	if err := i.free(ctx, r.Name); err != nil {
		return droveway.ImportPlan{}, err
	}
	if r.Upload != "" {
		return i.planUpload(r, look)
	}
	remote, err := source.Open(ctx, i.cfg.HTTP, r.Link)
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	p, err := planRemote(remote, r, look)
	if err != nil {
		return droveway.ImportPlan{}, droveway.Errorf(droveway.KindOf(err), "%s: %w", r.shown(), err)
	}
	p.Source.Location, p.Source.Bytes, p.Resumable = r.shown(), max(remote.Size, 0), remote.CanGoOn()
	if !p.Resumable {
		p.Notes = append(p.Notes, "the server cannot give the rest of a file for certain: after a cut the transfer begins anew")
	}
	return p, i.checkRoom(remote.Size)
}

func (r *Request) shown() string {
	if r.Shown != "" {
		return r.Shown
	}
	return source.Shown(r.Link)
}

func planRemote(remote *source.Remote, r Request, look look) (droveway.ImportPlan, error) {
	if !remote.Ranges {
		return droveway.ImportPlan{Images: []droveway.PlannedImage{}, Notes: []string{"the server gives no parts of files: what it is will be seen when it is here"}}, nil
	}
	s, err := survey.New(remote, remote.Size)
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	defer s.Close()
	p, err := s.Plan(r.Name, r.Disk)
	if err != nil {
		return p, err
	}
	return p, look(s, &p)
}

func (i *Intake) planUpload(r Request, look look) (droveway.ImportPlan, error) {
	f, err := i.whole(staged(r.Name, r.Upload))
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	defer f.Close()
	s, err := survey.OpenAlone(f.Path())
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	defer s.Close()
	p, err := s.Plan(r.Name, r.Disk)
	if err != nil {
		return p, err
	}
	p.Source.SHA256 = f.SHA256()
	return p, look(s, &p)
}

// whole opens a transfer that has all its bytes.
func (i *Intake) whole(id string) (*stage.File, error) {
	if !i.stage.Has(id) {
		return nil, droveway.Errorf(droveway.NotFound, "there is no such upload: send the image first")
	}
	f, err := i.stage.Open(id)
	if err != nil {
		return nil, err
	}
	if !f.Whole() {
		_ = f.Close()
		return nil, droveway.Errorf(droveway.Conflict, "the upload has %d bytes and is not whole: send the rest first", f.Offset())
	}
	return f, nil
}

// free says Exists if an image of that name is there, or being imported.
func (i *Intake) free(ctx context.Context, name string) error {
	img, _, err := i.cfg.Fleet.Images.Get(ctx, name)
	switch {
	case droveway.Is(err, droveway.NotFound):
		return nil
	case err != nil:
		return err
	case img.Job != "":
		return droveway.Errorf(droveway.Exists, "image %s is being imported by job %s: wait for it, or cancel it", name, img.Job)
	}
	return droveway.Errorf(droveway.Exists, "image %s is there already: remove it or use another name", name)
}

// checkRoom says Unavailable if the library has no room for so many more bytes.
func (i *Intake) checkRoom(bytes int64) error {
	have, err := i.cfg.Library.Free()
	if err == nil && bytes > have {
		err = droveway.Errorf(droveway.Unavailable, "no room on the server: %d MiB are to come and %d MiB are free: make room: %w", bytes>>20, have>>20, syscall.ENOSPC)
	}
	return err
}

// Start starts the job that imports. What is wrong with the source is said at once
// where it can be, as by Plan. The same request identifier gives the same job.
func (i *Intake) Start(ctx context.Context, r Request, requestID string) (droveway.Job, error) {
	if j, ok, err := i.cfg.Jobs.Find(ctx, Kind, "image/"+r.Name, requestID); err != nil || ok {
		return j, err
	}
	i.sweepAlong(ctx)
	if err := i.able(ctx, r); err != nil {
		return droveway.Job{}, err
	}
	if _, err := i.foresee(ctx, r, nobodyLooks); err != nil {
		return droveway.Job{}, err
	}
	_, done, err := i.withDrivers(ctx, r.wishes(), r.VirtioWin) // what would fail later fails before anything is copied
	if err != nil {
		return droveway.Job{}, err
	}
	done()
	a, err := i.prepare(r, requestID)
	if err != nil {
		return droveway.Job{}, err
	}
	j, err := i.cfg.Jobs.Submit(ctx, Kind, "image/"+r.Name, a, job.SubmitOptions{RequestID: requestID})
	if droveway.Is(err, droveway.Conflict) { // there is no job, and nobody else has what is staged for it
		i.drop(a)
	}
	return j, err
}

// prepare gives the arguments of a job, and keeps beside its transfer what is not to
// stand among them.
func (i *Intake) prepare(r Request, requestID string) (args, error) {
	a := r.args()
	if r.Link != "" {
		a.Location, a.Stage = r.shown(), r.fetched(requestID)
		if err := i.remember(a.Stage, r.Link); err != nil {
			return a, err
		}
	}
	i.keys.put(a.Stage, r.Keys)
	return a, nil
}

// drop removes what prepare has kept. If that fails, a sweep does it.
func (i *Intake) drop(a args) {
	i.keys.forget(a.Stage)
	if !a.fetches() {
		return
	}
	if err := i.stage.Remove(a.Stage); err != nil {
		i.cfg.Log.Warn("the link of an import that was not begun is still there", "image", a.Name, "error", err)
	}
}

func (r *Request) args() args {
	return args{Name: r.Name, Stage: staged(r.Name, r.Upload), Disk: r.Disk, SHA256: r.SHA256, Repair: r.Repair, Check: r.Check, Addresses: r.Addresses, Rebuild: r.Rebuild, MACs: r.MACs, VirtioWin: r.VirtioWin, Locked: len(r.Keys) > 0}
}

// insists reports whether a repair was asked for by name: what cannot be done is then
// refused, and not left out.
func (r *Request) insists() bool {
	return r.Repair == droveway.RepairForce || r.Addresses == droveway.AddressesDHCP || r.VirtioWin != ""
}

// able reports as Unsupported what is asked for and cannot be done here.
func (i *Intake) able(ctx context.Context, r Request) (err error) {
	if r.insists() {
		err = i.mayRepair(ctx)
	}
	if err == nil && r.Check == droveway.CheckBoot {
		err = i.mayBoot(ctx, droveway.BIOS)
	}
	if err != nil {
		return droveway.Errorf(droveway.KindOf(err), "import image %s: %w", r.Name, err)
	}
	return nil
}

// mayRepair reports as Unsupported what is missing here for repairs.
func (i *Intake) mayRepair(ctx context.Context) error {
	if i.cfg.Repairer == nil {
		return droveway.Missing("image.repair", "this server does not repair images: use --repair auto and --addresses keep")
	}
	return i.cfg.Repairer.Able(ctx)
}

// mayBoot reports as Unsupported what is missing here to boot images of that firmware.
func (i *Intake) mayBoot(ctx context.Context, f droveway.Firmware) error {
	if i.cfg.Checker == nil {
		return droveway.Missing("qemu", "this server does not boot images: use --check auto")
	}
	return i.cfg.Checker.Ready(ctx, f)
}

// remember keeps the link beside the transfer, and not with the job, which
// everybody can read who may read jobs.
func (i *Intake) remember(id, link string) error {
	f, err := i.stage.Open(id)
	if err != nil {
		return err
	}
	defer f.Close()
	if about := f.About(); about.Link != link {
		if err := f.Remember(stage.About{Link: link}); err != nil {
			return err
		}
		return f.Reset()
	}
	return nil
}
