// Package qemu runs guests with QEMU, each in a process of its own that outlives
// the one that started it, and speaks to them over their monitors.
//
// Memory moves with QEMU's own migration; disks follow by variant A: the target's
// disk is the source's export (NBD, served by qemu-storage-daemon) under a
// write-blocking mirror onto the local file. With local reads both are sides of a
// quorum instead (see useBoth). What was done already is always asked of QEMU,
// never remembered, so every verb may be repeated after a crash of the caller at
// any point.
//
// Below the directory of a Spec it keeps qmp.sock, qemu.json, qemu.log, console.log
// and, with local reads, diskN.map, or secondary.sock, secondary.json and secondary.log. Outside it
// touches the disks it is given and one control group an instance.
package qemu

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

var (
	_ hypervisor.Driver   = (*Driver)(nil)
	_ hypervisor.Restorer = (*Driver)(nil)
	_ hypervisor.Mover    = (*Instance)(nil)
)

// Config says which programs to use and how.
type Config struct {
	QEMU          string   // program; empty: qemu-system-x86_64
	StorageDaemon string   // program; empty: qemu-storage-daemon
	Accel         string   // kvm or tcg; empty: the best one that works
	User          string   // unprivileged user to run guests as; empty: that of this process
	HideCPU       []string // flags of the CPU that no guest gets
	Firmware      []string // folders with descriptions of firmware; empty: those that QEMU's packages use
	Log           *slog.Logger
}

// Driver is QEMU on this host.
type Driver struct {
	cfg   Config
	log   *slog.Logger
	warn  sync.Once // says once that RAM sizes are changed
	probe sync.Mutex
	found *platform // what the probe found; guarded by probe

	patience int // see patience; tests have less of it
}

// New makes a driver. It starts nothing.
func New(cfg Config) *Driver {
	cfg.QEMU = cmp.Or(cfg.QEMU, "qemu-system-x86_64")
	cfg.StorageDaemon = cmp.Or(cfg.StorageDaemon, "qemu-storage-daemon")
	return &Driver{cfg: cfg, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)), patience: patience}
}

// Name is "qemu".
func (d *Driver) Name() string { return "qemu" }

// Start starts an instance, or finds the one that runs: a caller that was killed
// before it could keep the handle loses nothing.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Instance, error) {
	i, err := d.start(ctx, spec)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "start machine %s: %w", spec.Machine, err)
	}
	return i, nil
}

func (d *Driver) start(ctx context.Context, spec hypervisor.Spec) (*Instance, error) {
	if err := valid(spec); err != nil {
		return nil, err
	}
	p, err := d.platform(ctx)
	if err != nil {
		return nil, err
	}
	if i, err := d.again(ctx, spec); i != nil || err != nil {
		return i, err
	}
	if err := p.gives(spec.CPU); err != nil {
		return nil, err
	}
	if err := hypervisor.Lacks(p.found, spec.Firmware); err != nil {
		return nil, err
	}
	l := &launch{driver: d, platform: p, spec: spec}
	i, err := l.run(ctx)
	if err != nil {
		l.undo()
		return nil, err
	}
	return i, nil
}

// again finds what an earlier Start in the same directory has left.
func (d *Driver) again(ctx context.Context, spec hypervisor.Spec) (*Instance, error) {
	h, err := loadHandle(spec.Dir)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, killStrays(ctx, spec.Dir, monitorName)
	}
	proc, err := adopt(h.Process)
	if droveway.Is(err, droveway.NotFound) {
		h.remove()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !h.made(spec) {
		proc.release()
		return nil, droveway.Errorf(droveway.Conflict, "another instance runs in %s: stop it first", spec.Dir)
	}
	i := d.instance(*h, proc)
	if err := i.begin(ctx); err != nil {
		_ = i.Close()
		return nil, err
	}
	return i, nil
}

// Sweep ends what was started in a directory, whether or not it got as far as to
// leave its handle there.
func (d *Driver) Sweep(ctx context.Context, dir string) error {
	for _, socket := range []string{monitorName, daemonMonitor} {
		if err := killStrays(ctx, dir, socket); err != nil {
			return err
		}
		_ = os.Remove(filepath.Join(dir, socket))
	}
	h, err := loadHandle(dir)
	if h != nil {
		h.remove()
	}
	return err
}

// Attach finds a running instance by its process. Its monitor is spoken to when it is
// first needed: another client may hold it, QEMU answers nobody while it sets up a
// migration, and one that never answers must keep nobody from finding the others.
func (d *Driver) Attach(_ context.Context, raw hypervisor.Handle) (hypervisor.Instance, error) {
	h, err := parseHandle(raw)
	if err != nil {
		return nil, err
	}
	proc, err := adopt(h.Process)
	if err != nil {
		h.remove()
		return nil, droveway.Errorf(droveway.KindOf(err), "find machine %s: %w", h.Spec.Machine, err)
	}
	return d.instance(h, proc), nil
}

// ramFor gives the RAM size in KiB. Under TCG, QEMU before 9.0 loses pages in a
// migration if the size is a multiple of 256 KiB (QEMU commit 03bfc2188f).
func (d *Driver) ramFor(p *platform, mib int64) int64 {
	kib := mib << 10
	if p.accel != tcg || !p.version.Before(9, 0) {
		return kib
	}
	d.warn.Do(func() {
		d.log.Info("guests get 8 KiB more memory: this QEMU loses pages of round sizes when it moves them without KVM", "qemu", p.version.String())
	})
	return kib + 8
}

// tail is the end of a log, from an offset on, to be shown in an error.
func tail(path string, from int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < from {
		return ""
	}
	const most = 600
	if b = b[from:]; len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}
