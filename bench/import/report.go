package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/bench/verdict"
)

// The bars.
const (
	minCPU    = 5   // of virt-v2v, in ours without the boot check, which it has not
	minFull   = 3   // of virt-v2v, in ours with all we do
	minMended = 20  // of virt-v2v, in ours without a server and a copy
	maxAsQEMU = 1.1 // of ours, in qemu-img's
	maxWall   = 1.0 // of ours with the boot check, in virt-v2v's
	maxMemory = 1.0 // of ours, in virt-v2v's
	minSaved  = 0.8 // of the time that the whole source takes on its way
)

// report is bench-import.json.
type report struct {
	verdict.Setting
	Rounds      int    `json:"rounds"`
	Accelerator string `json:"accelerator"`

	Conversions []conversion `json:"conversions,omitempty"`
	NoPeer      string       `json:"no_peer,omitempty"` // why there is none

	Rewritings []rewriting `json:"rewritings,omitempty"`

	FarBytes  int64   `json:"far_bytes,omitempty"` // of the file at the far server
	Rate      int64   `json:"rate,omitempty"`      // bytes a second
	LatencyMS int64   `json:"latency_ms,omitempty"`
	Firsts    []first `json:"firsts,omitempty"`

	Bars []verdict.Bar `json:"bars"`
}

// took is the median cost of a way, and whether it was measured.
func (r *report) took(way string) (cost.Cost, bool) {
	var all []cost.Cost
	for _, c := range r.Conversions {
		if c.Way == way {
			all = append(all, c.Cost)
		}
	}
	return cost.Median(all), len(all) > 0
}

// rewritten is the median cost of a way from a subformat into qcow2.
func (r *report) rewritten(from, way string) cost.Cost {
	var all []cost.Cost
	for _, c := range r.Rewritings {
		if c.From == from && c.Way == way {
			all = append(all, c.Cost)
		}
	}
	return cost.Median(all)
}

// median is that of a figure of a way to the login.
func (r *report) median(way string, of func(first) float64) float64 {
	var all []float64
	for _, f := range r.Firsts {
		if f.Way == way {
			all = append(all, of(f))
		}
	}
	return verdict.Quantile(all, 0.5)
}

func login(f first) float64 { return f.Login }

// transfer is how long the whole source takes on its way, in seconds.
func (r *report) transfer() float64 { return float64(r.FarBytes) / float64(max(r.Rate, 1)) }

func (r *report) judge() {
	checked, measured := r.took(wayChecked)
	repaired, _ := r.took(wayRepaired)
	mended, _ := r.took(wayMended)
	peer, compared := r.took(wayV2V)
	if measured {
		r.bar("disks of ours that boot, of those tried", r.booted(), verdict.AtLeast, 1, "")
	}
	if measured && compared {
		r.bar("CPU of virt-v2v, in ours without boot check", peer.CPUMS/repaired.CPUMS, verdict.AtLeast, minCPU, "×")
		r.bar("CPU of virt-v2v, in ours with boot check", peer.CPUMS/checked.CPUMS, verdict.AtLeast, minFull, "×")
		r.bar("CPU of virt-v2v, in our repair alone", peer.CPUMS/mended.CPUMS, verdict.AtLeast, minMended, "×")
		r.bar("wall time with boot check, in virt-v2v's", checked.WallMS/peer.WallMS, verdict.AtMost, maxWall, "×")
		r.bar("memory of the largest process, in virt-v2v's", checked.PeakMiB/peer.PeakMiB, verdict.AtMost, maxMemory, "×")
	}
	r.judgeRewritings()
	if len(r.Firsts) > 0 {
		saved := r.median(wayImportFirst, login) - r.median(waySwitchFirst, login)
		r.bar("time to login that is saved, in that of the transfer", saved/r.transfer(), verdict.AtLeast, minSaved, "×")
	}
}

func (r *report) judgeRewritings() {
	if len(r.Rewritings) == 0 {
		return
	}
	for _, from := range subformats() {
		ours, theirs := r.rewritten(from, wayOwn), r.rewritten(from, wayQEMU)
		r.bar("CPU from "+from+" into qcow2, in qemu-img's", ours.CPUMS/theirs.CPUMS, verdict.AtMost, maxAsQEMU, "×")
		r.bar("wall time from "+from+" into qcow2, in qemu-img's", ours.WallMS/theirs.WallMS, verdict.AtMost, maxAsQEMU, "×")
	}
}

// booted is the share of our disks that came up, of those that were tried.
func (r *report) booted() float64 {
	tried, up := 0, 0
	for _, c := range r.Conversions {
		if c.Way == wayV2V || c.Boots == "" && !strings.Contains(c.Answer, "boot ") {
			continue
		}
		tried++
		if strings.HasPrefix(c.Boots, "ok") || c.Boots == "" && strings.Contains(c.Answer, "boot ok") {
			up++
		}
	}
	return float64(up) / float64(max(tried, 1))
}

func (r *report) bar(name string, got float64, side verdict.Side, want float64, unit string) {
	r.Bars = append(r.Bars, verdict.NewBar(name, got, side, want, unit))
}

func (r *report) write(dir string) error {
	if err := verdict.Write(dir, "bench-import.json", r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench-import.svg"), picture(r), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

func (r *report) print(w io.Writer) error {
	return verdict.Print(w, r.Bars, func(t io.Writer) {
		fmt.Fprintf(t, "accelerator: %s, load before: %.1f\n", r.Accelerator, r.LoadBefore)
		if len(r.Conversions) > 0 {
			fmt.Fprintln(t, "\nWAY\tROUND\tWALL\tCPU\tPEAK\tBOOTS HERE\tANSWER")
		}
		for _, c := range r.Conversions {
			boots, _, _ := strings.Cut(c.Boots, ":")
			fmt.Fprintf(t, "%s\t%d\t%.0f s\t%.1f s\t%.0f MiB\t%s\t%s\n", c.Way, c.Round, c.WallMS/1000, c.CPUMS/1000, c.PeakMiB, boots, c.Answer)
		}
		if r.NoPeer != "" {
			fmt.Fprintf(t, "no comparison: %s\n", r.NoPeer)
		}
		if len(r.Rewritings) > 0 {
			fmt.Fprintln(t, "\nINTO QCOW2\tROUND\tWALL\tCPU\tPEAK")
		}
		for _, c := range r.Rewritings {
			fmt.Fprintf(t, "%s, from %s\t%d\t%.2f s\t%.2f s\t%.0f MiB\n", c.Way, c.From, c.Round, c.WallMS/1000, c.CPUMS/1000, c.PeakMiB)
		}
		if len(r.Firsts) > 0 {
			fmt.Fprintf(t, "\n%d MiB at %d MiB/s: %.0f s on the way\nWAY\tROUND\tLOGIN\tSENT BY THEN\tWHOLE\n", r.FarBytes>>20, r.Rate>>20, r.transfer())
		}
		for _, f := range r.Firsts {
			whole := ""
			if f.Whole > 0 {
				whole = fmt.Sprintf("%.1f s", f.Whole)
			}
			fmt.Fprintf(t, "%s\t%d\t%.1f s\t%.0f MiB\t%s\n", f.Way, f.Round, f.Login, f.Sent/(1<<20), whole)
		}
	})
}
