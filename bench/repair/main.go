// Repair measures the repair of an image: a Debian 12 as VMware leaves it, inspected,
// planned for and repaired on an overlay, each time anew.
//
// It needs root, to make the image, and writes bench-repair.json.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/droveway/droveway/bench/mend"
	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// The bars.
const (
	// maxCPU is a twentieth of what virt-v2v took for such a disk where it was measured:
	// 202 s. bench/import measures both in one run.
	maxCPU = 10 // seconds
	// minSaved is how many times as much the guest's own programs take, which make its
	// initramfs and its loader's configuration anew.
	minSaved = 20
)

// The manners of a repair.
const (
	byFiles    = "files"
	byPrograms = "programs"
)

// took is what one repair took, with all its children.
type took struct {
	Manner string  `json:"manner"`
	CPU    float64 `json:"cpu_s"`
	Wall   float64 `json:"wall_s"`
}

// report is bench-repair.json.
type report struct {
	verdict.Setting
	Accel string        `json:"accelerator"`
	Runs  []took        `json:"runs"`
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
		if o.kernel, err = tinyimage.KernelDir(); err != nil {
			return false, err
		}
	}
	for n := range o.runs + 1 {
		full := n == o.runs
		if full && !o.full {
			break
		}
		shop := mend.Shop{Binary: o.binary, Kernel: o.kernel, Accel: o.accel, Full: full}
		c, _, err := shop.Repair(ctx, strings.TrimSpace(string(disk)))
		if err != nil {
			return false, err
		}
		manner := map[bool]string{false: byFiles, true: byPrograms}[full]
		r.Runs = append(r.Runs, took{manner, c.CPUMS / 1000, c.WallMS / 1000})
	}
	r.judge()
	if err := verdict.Write(o.out, "bench-repair.json", r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), verdict.Print(os.Stdout, r.Bars, r.table)
}

// cpu is the median of a manner, in seconds, and whether it was measured.
func (r *report) cpu(manner string) (float64, bool) {
	var all []float64
	for _, c := range r.Runs {
		if c.Manner == manner {
			all = append(all, c.CPU)
		}
	}
	return verdict.Quantile(all, 0.5), len(all) > 0
}

func (r *report) judge() {
	files, _ := r.cpu(byFiles)
	r.Bars = []verdict.Bar{verdict.NewBar("CPU of a repair by files, median", files, verdict.AtMost, maxCPU, "s")}
	if programs, measured := r.cpu(byPrograms); measured {
		r.Bars = append(r.Bars, verdict.NewBar("CPU with the guest's own programs, in that by files", programs/files, verdict.AtLeast, minSaved, "×"))
	}
}

func (r *report) table(w io.Writer) {
	fmt.Fprintln(w, "MANNER\tCPU\tWALL")
	for _, c := range r.Runs {
		fmt.Fprintf(w, "%s\t%.1f s\t%.1f s\n", c.Manner, c.CPU, c.Wall)
	}
}
