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

// The bars, for the best source.
const (
	maxCPU = 2.0  // percent of one core
	maxMiB = 40.0 // resident
)

// report is bench-probe.json.
type report struct {
	Time    time.Time  `json:"time"`
	Rate    int        `json:"connections_per_second"`
	Seconds float64    `json:"seconds"`
	Sources []measured `json:"sources"` // best first
	Bars    []bar      `json:"bars"`
}

// measured is one source. Times are in percent of one core.
type measured struct {
	Source      string  `json:"source"`
	Opened      int     `json:"connections"`
	Reported    int     `json:"ends_reported"`
	Process     float64 `json:"process_cpu_percent"`
	Programs    float64 `json:"kernel_programs_cpu_percent"`
	ResidentKiB int64   `json:"max_rss_kib"`
	residentAll []int64
}

// bar is something that must be reached.
type bar struct {
	Name string  `json:"name"`
	Got  float64 `json:"got"`
	Most float64 `json:"most"`
	Unit string  `json:"unit"`
	OK   bool    `json:"ok"`
}

func judge(r report) []bar {
	best := r.Sources[0]
	name := fmt.Sprintf("%s at %d connections/s", best.Source, r.Rate)
	bars := []bar{
		{Name: name + ", processor", Got: best.Process + best.Programs, Most: maxCPU, Unit: "% of one core"},
		{Name: name + ", memory", Got: float64(best.ResidentKiB) / 1024, Most: maxMiB, Unit: "MiB"},
	}
	for i, b := range bars {
		bars[i].OK = b.Got < b.Most && best.Reported >= 2*best.Opened // cheap is no merit of a probe that misses
	}
	return bars
}

func met(bars []bar) bool {
	return !slices.ContainsFunc(bars, func(b bar) bool { return !b.OK })
}

func (r report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range r.Sources {
		fmt.Fprintf(t, "%s\t%d connections\t%d ends reported\t%.2f %% + %.2f %% in the kernel\t%.1f MiB\n", m.Source, m.Opened, m.Reported, m.Process, m.Programs, float64(m.ResidentKiB)/1024)
	}
	for _, b := range r.Bars {
		verdict := "pass"
		if !b.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%.2f %s\tbelow %.0f %s\t%s\n", b.Name, b.Got, b.Unit, b.Most, b.Unit, verdict)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}

func (r report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bench-probe.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
