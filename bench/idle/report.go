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
	maxServerMiB = 80
	maxHostMiB   = 50
	maxListMS    = 100
	maxReadyMS   = 2000
)

// report is bench-idle.json. Times are in milliseconds.
type report struct {
	Time          time.Time `json:"time"`
	ServerKiB     int64     `json:"server_rss_kib"`
	HostKiB       int64     `json:"host_rss_kib"`
	FullServerKiB int64     `json:"server_rss_with_machines_kib"`
	Machines      int       `json:"machines"`
	ListP50       float64   `json:"list_p50_ms"`
	ListP99       float64   `json:"list_p99_ms"`
	ReadyFirst    float64   `json:"ready_first_start_ms"` // makes its authority, keys and tables
	ReadyAgain    float64   `json:"ready_next_start_ms"`
	Bars          []bar     `json:"bars"`
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
	bars := []bar{
		{Name: "server, idle", Got: mib(r.ServerKiB), Most: maxServerMiB, Unit: "MiB"},
		{Name: fmt.Sprintf("server, idle with %d machines", r.Machines), Got: mib(r.FullServerKiB), Most: maxServerMiB, Unit: "MiB"},
		{Name: "host agent, idle", Got: mib(r.HostKiB), Most: maxHostMiB, Unit: "MiB"},
		{Name: fmt.Sprintf("list of %d machines, median", r.Machines), Got: r.ListP50, Most: maxListMS, Unit: "ms"},
		{Name: fmt.Sprintf("list of %d machines, 99 of 100", r.Machines), Got: r.ListP99, Most: maxListMS, Unit: "ms"},
		{Name: "server ready, first start", Got: r.ReadyFirst, Most: maxReadyMS, Unit: "ms"},
		{Name: "server ready, next start", Got: r.ReadyAgain, Most: maxReadyMS, Unit: "ms"},
	}
	for i, b := range bars {
		bars[i].OK = b.Got <= b.Most
	}
	return bars
}

func mib(kib int64) float64 { return float64(kib) / 1024 }

func met(bars []bar) bool {
	return !slices.ContainsFunc(bars, func(b bar) bool { return !b.OK })
}

func (r report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, b := range r.Bars {
		verdict := "pass"
		if !b.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%.1f %s\tat most %.0f %s\t%s\n", b.Name, b.Got, b.Unit, b.Most, b.Unit, verdict)
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
		err = os.WriteFile(filepath.Join(dir, "bench-idle.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// quantile gives the value that a part q of the values does not exceed.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
