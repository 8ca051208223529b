package main

import (
	"fmt"
	"io"

	"github.com/droveway/droveway/bench/verdict"
)

// The bars, for the best source.
const (
	maxCPU = 2.0  // percent of one core
	maxMiB = 40.0 // resident
)

// report is bench-probe.json.
type report struct {
	verdict.Setting
	Rate    int           `json:"connections_per_second"`
	Seconds float64       `json:"seconds"`
	Sources []measured    `json:"sources"` // best first
	Bars    []verdict.Bar `json:"bars"`
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

// judge looks at the best source. That it is cheap is no merit if it misses.
func judge(r report) []verdict.Bar {
	best := r.Sources[0]
	whole := best.Reported >= 2*best.Opened
	name := fmt.Sprintf("%s at %d connections/s", best.Source, r.Rate)
	return []verdict.Bar{
		verdict.NewBar(name+", processor", best.Process+best.Programs, verdict.Below, maxCPU, "% of one core").If(whole),
		verdict.NewBar(name+", memory", float64(best.ResidentKiB)/1024, verdict.Below, maxMiB, "MiB").If(whole),
	}
}

func (r report) print(w io.Writer) error {
	return verdict.Print(w, r.Bars, func(t io.Writer) {
		for _, m := range r.Sources {
			fmt.Fprintf(t, "%s\t%d connections\t%d ends reported\t%.2f %% + %.2f %% in the kernel\t%.1f MiB\n", m.Source, m.Opened, m.Reported, m.Process, m.Programs, float64(m.ResidentKiB)/1024)
		}
	})
}
