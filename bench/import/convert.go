package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/bench/mend"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image/bootcheck"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// The ways of a disk into this world.
const (
	wayChecked  = "droveway, with boot check"
	wayRepaired = "droveway, without"
	wayMended   = "droveway, the repair alone"
	wayV2V      = "virt-v2v"
)

// conversion is one run of one way.
type conversion struct {
	Way    string `json:"way"`
	Answer string `json:"answer"` // what it said
	Boots  string `json:"boots"`  // what became of its disk here, outside of the cost; empty: not tried
	Round  int    `json:"round"`  // from 1 on
	disk   string // that it has made
	cost.Cost
}

// workshop is what the ways share.
type workshop struct {
	options
	dir, source string // the disk
	kernel      string // directory of
	accelerator string
	v2v         []string // its surroundings; nil: it cannot run here
}

// conversions brings one disk in by all ways, round by round, so that what disturbs
// one disturbs the others.
func (o options) conversions(ctx context.Context, dir string, r *report) error {
	w, err := o.furnish(ctx, dir, r)
	if err != nil {
		return err
	}
	for round := range o.runs {
		for _, way := range w.ways() {
			o.log.Info("bringing the disk in", "way", way, "round", round+1)
			c, err := w.convert(ctx, way, round)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			r.Conversions = append(r.Conversions, c)
		}
	}
	return nil
}

func (o options) furnish(ctx context.Context, dir string, r *report) (*workshop, error) {
	w := &workshop{options: o, dir: dir, accelerator: r.Accelerator}
	o.log.Info("making the disk of another hypervisor, if it is not there")
	var err error
	if w.source, err = cost.Command(ctx, "scripts/build-debian-image", "--foreign"); err != nil {
		return nil, err
	}
	if w.kernel, err = tinyimage.KernelDir(); err != nil {
		return nil, err
	}
	if w.v2v, err = w.peer(ctx); err != nil {
		r.NoPeer = err.Error()
		o.log.Warn("no comparison", "why", err)
	}
	return w, nil
}

func (w *workshop) ways() []string {
	if w.v2v == nil {
		return []string{wayChecked, wayRepaired, wayMended}
	}
	return []string{wayChecked, wayRepaired, wayMended, wayV2V}
}

func (w *workshop) convert(ctx context.Context, way string, round int) (c conversion, err error) {
	dir, err := os.MkdirTemp(w.dir, "c")
	if err != nil {
		return c, fmt.Errorf("make a directory for a disk: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return c, err
	}
	switch way {
	case wayV2V:
		c, err = w.byV2V(ctx, dir)
	case wayMended:
		c, err = w.mended(ctx)
	default:
		c, err = w.byDroveway(ctx, dir, way == wayChecked)
	}
	c.Way, c.Round = way, round+1
	if err == nil && w.prove && round == 0 && c.disk != "" && way != wayChecked { // that was booted
		c.Boots, err = w.boot(ctx, dir, c.disk)
	}
	return c, err
}

// mended repairs the disk on an overlay, and keeps nothing.
func (w *workshop) mended(ctx context.Context) (c conversion, err error) {
	shop := mend.Shop{Binary: w.binary, Kernel: w.kernel, Accel: w.accelerator}
	var files int
	c.Cost, files, err = shop.Repair(ctx, w.source)
	c.Answer = fmt.Sprintf("%d files changed", files)
	return c, err
}

// boot tells what becomes of a disk that a way has made, with the hardware that
// machines have here.
func (w *workshop) boot(ctx context.Context, dir, disk string) (string, error) {
	w.log.Info("booting what was made", "disk", filepath.Base(disk))
	info, err := cost.Command(ctx, "qemu-img", "info", "-U", "--output=json", disk)
	if err != nil {
		return "", err
	}
	size, err := virtualSize(info)
	if err != nil {
		return "", err
	}
	log := slog.New(slog.DiscardHandler)
	checker, err := bootcheck.New(bootcheck.Config{Driver: qemu.New(qemu.Config{User: "nobody", Log: log}), Dir: filepath.Join(dir, "boots"), Log: log})
	if err != nil {
		return "", err
	}
	res, err := checker.Run(ctx, bootcheck.Request{Name: "bench", Image: disk, Format: droveway.QCOW2, Size: size})
	if err != nil {
		return "", err
	}
	return string(res.Verdict) + ": " + res.Reason, checker.Discard(ctx, "bench")
}
