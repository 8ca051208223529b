// Repair measures the repair of an image: a Debian 12 as VMware leaves it, inspected,
// planned for and repaired on an overlay, each time anew.
//
// It needs root, to make the image, and writes bench-repair.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway/bench/guestfs"
	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/repair"
)

// maxCPU is a twentieth of what virt-v2v took for such a disk where it was measured:
// 202 s.
const maxCPU = 10 // seconds

// cost is what one repair took, with all its children.
type cost struct {
	Manner string  `json:"manner"`
	CPU    float64 `json:"cpu_s"`
	Wall   float64 `json:"wall_s"`
}

// report is bench-repair.json.
type report struct {
	verdict.Setting
	Accel string        `json:"accelerator"`
	Runs  []cost        `json:"runs"`
	Bars  []verdict.Bar `json:"bars"`
}

type options struct {
	out, binary, kernel, accel string
	runs                       int
	full                       bool
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "out", "directory for the results")
	flag.StringVar(&o.binary, "binary", "bin/droveway", "the droveway binary")
	flag.StringVar(&o.kernel, "kernel", "", "directory of the appliance's kernel; where scripts/setup unpacks one, if empty")
	flag.StringVar(&o.accel, "accel", "tcg", "kvm or tcg")
	flag.IntVar(&o.runs, "runs", 5, "how often; the median counts")
	flag.BoolVar(&o.full, "full", false, "also once with the guest's own programs")
	flag.Parse()
	verdict.Main("bench/repair", o.run)
}

func (o options) run(ctx context.Context) (bool, error) {
	if err := verdict.AtLeastOne("runs", o.runs); err != nil {
		return false, err
	}
	if err := verdict.NeedRoot("makes an image"); err != nil {
		return false, err
	}
	r := report{Setting: verdict.Here(), Accel: o.accel}
	build := exec.CommandContext(ctx, "scripts/build-debian-image", "--foreign")
	build.Stderr = os.Stderr
	disk, err := build.Output()
	if err != nil {
		return false, fmt.Errorf("build the image: %w", err)
	}
	if o.kernel == "" {
		if o.kernel, err = guestfs.Kernel(); err != nil {
			return false, err
		}
	}
	var cpu []float64
	for range o.runs {
		c, err := o.measure(ctx, strings.TrimSpace(string(disk)), false)
		if err != nil {
			return false, err
		}
		r.Runs, cpu = append(r.Runs, c), append(cpu, c.CPU)
	}
	if o.full {
		c, err := o.measure(ctx, strings.TrimSpace(string(disk)), true)
		if err != nil {
			return false, err
		}
		r.Runs = append(r.Runs, c)
	}
	r.Bars = []verdict.Bar{verdict.NewBar("CPU of a repair by files, median", verdict.Quantile(cpu, 0.5), verdict.AtMost, maxCPU, "s")}
	if err := verdict.Write(o.out, "bench-repair.json", r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), verdict.Print(os.Stdout, r.Bars, r.table)
}

func (r *report) table(w io.Writer) {
	fmt.Fprintln(w, "MANNER\tCPU\tWALL")
	for _, c := range r.Runs {
		fmt.Fprintf(w, "%s\t%.1f s\t%.1f s\n", c.Manner, c.CPU, c.Wall)
	}
}

// measure inspects, plans and repairs.
func (o options) measure(ctx context.Context, disk string, full bool) (c cost, err error) {
	c.Manner = map[bool]string{false: "files", true: "programs"}[full]
	dir, err := os.MkdirTemp("", "dwn-")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began, used := time.Now(), spent()
	catalog, err := identify.Default()
	if err != nil {
		return c, err
	}
	var plan *repair.Plan
	report, err := inspect.File(ctx, disk, inspect.Options{Catalog: catalog, Then: func(r *inspect.Report, t *filesystem.Tree) (err error) {
		plan, err = repair.Make(r, t)
		return err
	}})
	if err != nil {
		return c, err
	}
	a := appliance.New(appliance.Config{Kernel: o.kernel, Init: o.binary, Accel: o.accel, User: "nobody"})
	_, err = a.Repair(ctx, appliance.Request{Image: disk, Overlay: filepath.Join(dir, "overlay.qcow2"), Plan: plan, Report: report, MACs: []string{"52:54:00:12:34:56"}, Full: full})
	c.Wall, c.CPU = time.Since(began).Seconds(), (spent() - used).Seconds()
	return c, err
}

// spent is the CPU time of this process and of its children that have ended.
func spent() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}
