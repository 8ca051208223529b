package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// The bars.
const (
	maxWallMS  = 100 // for a qcow2 of the Debian disk
	maxPeakMiB = 100 // for any image that needs no key
	minRatio   = 500 // of CPU, to virt-inspector on the same disk
)

// report is bench-inspect.json.
type report struct {
	Time   time.Time `json:"time"`
	Images []result  `json:"images"`
	Peer   *result   `json:"peer,omitempty"`
	NoPeer string    `json:"no_peer,omitempty"` // why there is none
	Bars   []bar     `json:"bars"`
}

// bar is something that must be reached: at most Want, or at least if Least.
type bar struct {
	Name  string  `json:"name"`
	Got   float64 `json:"got"`
	Want  float64 `json:"want"`
	Least bool    `json:"least,omitempty"`
	OK    bool    `json:"ok"`
}

func (r *report) judge() {
	r.Time = time.Now().UTC().Truncate(time.Second)
	peak := 0.0
	for _, i := range r.Images {
		if i.Image == "debian 12, qcow2" {
			r.bar(bar{Name: "debian 12, qcow2: ms", Got: i.WallMS, Want: maxWallMS})
		}
		if i.OS != "" {
			peak = max(peak, i.PeakMiB)
		}
	}
	r.bar(bar{Name: "peak memory of any image without a key: MiB", Got: peak, Want: maxPeakMiB})
	if r.Peer != nil && r.Images[0].CPUMS > 0 {
		r.bar(bar{Name: "CPU of virt-inspector, in ours", Got: r.Peer.CPUMS / r.Images[0].CPUMS, Want: minRatio, Least: true})
	}
}

func (r *report) bar(b bar) {
	b.OK = b.Got <= b.Want
	if b.Least {
		b.OK = b.Got >= b.Want
	}
	r.Bars = append(r.Bars, b)
}

func met(bars []bar) bool {
	return !slices.ContainsFunc(bars, func(b bar) bool { return !b.OK })
}

func (r *report) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bench-inspect.json"), append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "IMAGE\tANSWER\tWALL\tCPU\tPEAK")
	all := r.Images
	if r.Peer != nil {
		all = append(slices.Clone(all), *r.Peer)
	}
	for _, i := range all {
		fmt.Fprintf(t, "%s\t%s\t%.0f ms\t%.0f ms\t%.0f MiB\n", i.Image, i.OS, i.WallMS, i.CPUMS, i.PeakMiB)
	}
	fmt.Fprintln(t)
	for _, b := range r.Bars {
		verdict, side := "pass", "at most"
		if !b.OK {
			verdict = "FAIL"
		}
		if b.Least {
			side = "at least"
		}
		fmt.Fprintf(t, "%s\t%.1f\t%s %.0f\t%s\n", b.Name, b.Got, side, b.Want, verdict)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}
