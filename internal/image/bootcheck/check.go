package bootcheck

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/network"
	"github.com/droveway/droveway/internal/volume"
)

// Config is what checks stand on.
type Config struct {
	Driver hypervisor.Driver
	Dir    string // for checks under way; on the file system of the images, made if it is missing
	Images string // directory of the images, for Ready; empty: not asked for
	Log    *slog.Logger
}

// Checker boots images. Its methods may be called at the same time, for one name
// once.
type Checker struct {
	cfg   Config
	signs []sign
}

// New makes a Checker; it starts nothing.
func New(cfg Config) (*Checker, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "directory of boot checks: %w", err)
	}
	cfg.Dir = dir
	signs, err := knownSigns()
	return &Checker{cfg, signs}, err
}

// Request is an image to boot.
type Request struct {
	Name     string // of the check: that of the image
	Image    string // path
	Format   droveway.Format
	Size     int64             // bytes that the guest sees
	Firmware droveway.Firmware // empty: BIOS
	Within   time.Duration     // for a sign; 0: as long as the accelerator needs
}

// The guest, and how long it may take.
const (
	cpus      = 2
	memoryMiB = 1024
	mac       = "52:54:00:b0:07:c4"

	withinKVM = 5 * time.Minute
	withinTCG = 20 * time.Minute
	endWithin = 30 * time.Second
)

// The guest's address on its own network, where QEMU answers as 10.0.2.2.
var (
	address = netip.MustParsePrefix("10.0.2.15/24")
	gateway = netip.MustParseAddr("10.0.2.2")
)

// Ready reports as Unsupported what is missing here to check an image of that
// firmware.
func (c *Checker) Ready(ctx context.Context, f droveway.Firmware) error {
	if _, err := c.probe(ctx, f); err != nil || c.cfg.Images == "" {
		return err
	}
	return c.together()
}

// together finds out whether an image can have a second name in the directory of the
// checks. A copy of each would take its time and its room.
func (c *Checker) together() error {
	if err := c.makeDir(); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.cfg.Images, probing)
	if err != nil {
		return fileError("make a file in", c.cfg.Images, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	second := filepath.Join(c.cfg.Dir, filepath.Base(f.Name()))
	err = os.Link(f.Name(), second)
	if errors.Is(err, syscall.EXDEV) {
		return droveway.Missing("image.check", "the images in %s and the boot checks in %s are on two file systems: make the latter a symbolic link to a directory on that of the images, which guests can reach", c.cfg.Images, c.cfg.Dir)
	}
	if err != nil {
		return fileError("give a second name in", c.cfg.Dir, err)
	}
	return fileError("remove", second, os.Remove(second))
}

// probing is how the names of files begin that are there for a moment; the library of
// images removes such of its own.
const probing = ".new-check-"

func (c *Checker) makeDir() error {
	return fileError("make", c.cfg.Dir, os.MkdirAll(c.cfg.Dir, 0o711)) // guests may run as another user
}

func (c *Checker) probe(ctx context.Context, f droveway.Firmware) (hypervisor.Capabilities, error) {
	have, err := c.cfg.Driver.Probe(ctx)
	if droveway.Is(err, droveway.Unsupported) {
		return nil, droveway.Missing("qemu", "a boot check needs QEMU on the server: install the package qemu-system-x86 there, or import with --check none: %v", err)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "boot check: %w", err)
	}
	if have[hypervisor.AloneCapability] != "yes" {
		return nil, droveway.Missing(hypervisor.AloneCapability, "a boot check needs a QEMU with user networking, which this one has not: %s", have[hypervisor.AloneCapability])
	}
	return have, hypervisor.Lacks(have, f)
}

// Run boots an image and tells what became of it. An error says that this could not
// be found out: Unsupported if something is missing here, Unavailable if the server
// has no room.
func (c *Checker) Run(ctx context.Context, r Request) (droveway.BootCheck, error) {
	res, err := c.run(ctx, r)
	if err != nil {
		return res, droveway.Errorf(droveway.KindOf(err), "boot check of %s: %w", r.Name, err)
	}
	c.cfg.Log.Info("checked whether an image boots", "image", r.Name, "verdict", string(res.Verdict), "reason", res.Reason)
	return res, nil
}

func (c *Checker) run(ctx context.Context, r Request) (res droveway.BootCheck, err error) {
	have, err := c.probe(ctx, r.Firmware)
	if err != nil {
		return res, err
	}
	if r.Within == 0 {
		r.Within = withinTCG
		if have["accelerator"] == "kvm" {
			r.Within = withinKVM
		}
	}
	if err := c.Discard(ctx, r.Name); err != nil {
		return res, err
	}
	defer func() { // whatever became of it, and of ctx
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
		defer cancel()
		err = errors.Join(err, c.Discard(after, r.Name))
	}()
	spec, err := c.prepare(ctx, r)
	if err != nil {
		return res, err
	}
	inst, err := c.cfg.Driver.Start(ctx, spec)
	if err != nil {
		return res, err
	}
	defer inst.Close()
	w := watch{inst: inst, within: r.Within, console: console{path: inst.Console(), signs: c.signs}, spec: spec}
	return w.run(ctx)
}

func (c *Checker) dir(name string) string { return filepath.Join(c.cfg.Dir, name) }

// Discard ends a check that was interrupted and removes what it has left. It does
// nothing if there is nothing.
func (c *Checker) Discard(ctx context.Context, name string) error {
	if err := droveway.ValidName("image", name); err != nil {
		return err
	}
	dir := c.dir(name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := c.cfg.Driver.Sweep(ctx, dir); err != nil {
		return err
	}
	return fileError("remove", dir, os.RemoveAll(dir))
}

// Sweep discards what a server that was killed has left: nobody may repeat those checks.
// What cannot be discarded is logged, and is the next time.
func (c *Checker) Sweep(ctx context.Context) {
	left, err := os.ReadDir(c.cfg.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.cfg.Log.Warn("what is left of boot checks is not known", "error", err)
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), probing) {
			_ = os.Remove(filepath.Join(c.cfg.Dir, e.Name())) // an empty file: the next time
		}
		if droveway.ValidName("image", e.Name()) != nil {
			continue // none of ours
		}
		if err := c.Discard(ctx, e.Name()); err != nil {
			c.cfg.Log.Warn("a boot check that was interrupted is still there", "image", e.Name(), "error", err)
			continue
		}
		c.cfg.Log.Info("discarded a boot check that was interrupted", "image", e.Name())
	}
}

// prepare makes the directory of a check: the image under a second name, through
// which the guest's user can read it and nothing else, an overlay and a seed.
func (c *Checker) prepare(ctx context.Context, r Request) (hypervisor.Spec, error) {
	dir := c.dir(r.Name)
	spec := hypervisor.Spec{
		Machine: r.Name, UUID: "00000000-0000-4000-8000-0000b007c4ec", Dir: dir, CPUs: cpus, MemoryMiB: memoryMiB, Firmware: r.Firmware, Bound: true,
		Disks: []hypervisor.Disk{{Name: "root", Path: filepath.Join(dir, "overlay"), Format: droveway.QCOW2, Size: r.Size}},
		NICs:  []hypervisor.NIC{{ID: "net0", MAC: mac, Alone: true}},
		Seed:  filepath.Join(dir, "seed.iso"),
	}
	if err := c.makeDir(); err != nil {
		return spec, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return spec, fileError("make", dir, err)
	}
	image := filepath.Join(dir, "image")
	if err := volume.Lend(r.Image, image); err != nil {
		return spec, err
	}
	if err := volume.Overlay(ctx, spec.Disks[0].Path, image, r.Format); err != nil {
		return spec, err
	}
	return spec, seed(spec.Seed, r.Name)
}

func seed(path, name string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fileError("make", path, err)
	}
	return errors.Join(network.Seed(f, network.SeedConfig{
		Machine: name, InstanceID: "boot-check", NICs: []network.SeedNIC{{MAC: mac, Address: address, Gateway: gateway}},
	}), f.Close())
}

// fileError wraps an error of the file system; nil stays nil.
func fileError(attempt, path string, err error) error {
	if err == nil {
		return nil
	}
	kind := droveway.Internal
	switch {
	case errors.Is(err, os.ErrPermission):
		kind = droveway.Permission
	case errors.Is(err, syscall.ENOSPC):
		kind = droveway.Unavailable
	}
	return droveway.Errorf(kind, "%s %s: %w", attempt, path, err)
}
