package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/droveway/droveway/bench/verdict"
)

// The bars.
const (
	maxWallMS  = 100 // for a qcow2 of the Debian disk
	maxPeakMiB = 100 // for any image that needs no key
	minRatio   = 500 // of CPU, to virt-inspector on the same disk
)

// report is bench-inspect.json.
type report struct {
	verdict.Setting
	Images []result      `json:"images"`
	Peer   *result       `json:"peer,omitempty"`
	NoPeer string        `json:"no_peer,omitempty"` // why there is none
	Bars   []verdict.Bar `json:"bars"`
}

func (r *report) judge() {
	peak := 0.0
	for _, i := range r.Images {
		if i.Image == "debian 12, qcow2" {
			r.bar("debian 12, qcow2", i.WallMS, verdict.AtMost, maxWallMS, "ms")
		}
		if i.OS != "" {
			peak = max(peak, i.PeakMiB)
		}
	}
	r.bar("peak memory of any image without a key", peak, verdict.AtMost, maxPeakMiB, "MiB")
	if r.Peer != nil && r.Images[0].CPUMS > 0 {
		r.bar("CPU of virt-inspector, in ours", r.Peer.CPUMS/r.Images[0].CPUMS, verdict.AtLeast, minRatio, "×")
	}
}

func (r *report) bar(name string, got float64, side verdict.Side, want float64, unit string) {
	r.Bars = append(r.Bars, verdict.NewBar(name, got, side, want, unit))
}

func (r *report) write(dir string) error {
	if err := verdict.Write(dir, "bench-inspect.json", r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench-inspect.svg"), picture(r), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

func (r *report) print(w io.Writer) error {
	return verdict.Print(w, r.Bars, func(t io.Writer) {
		fmt.Fprintln(t, "IMAGE\tANSWER\tWALL\tCPU\tPEAK")
		all := r.Images
		if r.Peer != nil {
			all = append(slices.Clone(all), *r.Peer)
		}
		for _, i := range all {
			fmt.Fprintf(t, "%s\t%s\t%.0f ms\t%.0f ms\t%.0f MiB\n", i.Image, i.OS, i.WallMS, i.CPUMS, i.PeakMiB)
		}
	})
}
