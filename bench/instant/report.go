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

// What must be reached, in milliseconds.
const (
	switchMost = 300 // from when postcopy was asked for until the guest runs
	spare      = 300 // of a plain move beyond the set-up and twice the time of the bytes
)

// report is bench-instant.json.
type report struct {
	Time time.Time `json:"time"`
	Link float64   `json:"link_bytes_per_second"` // measured, by one plain connection
	Runs []one     `json:"runs"`
	Bars []bar     `json:"bars"`
}

// bar is something that must be reached.
type bar struct {
	Name string  `json:"name"`
	Got  float64 `json:"got_ms"`
	Most float64 `json:"most_ms"`
	OK   bool    `json:"ok"`
}

// judge compares medians. What a plain move may take is reckoned for each run by
// itself, for each sends another number of bytes.
func (r *report) judge() {
	for _, size := range r.sizes() {
		r.bar(fmt.Sprintf("instant, %d MiB: told to follow until it runs", size), switchMost, r.median(size, instant, func(m one) float64 { return float64(m.Switch) }))
		r.bar(fmt.Sprintf("plain, %d MiB: beyond set-up and twice the bytes' time", size), spare, r.median(size, plain, func(m one) float64 {
			return float64(m.Running-m.Setup) - 2*1000*float64(m.Bytes)/r.Link
		}))
	}
}

func (r *report) bar(name string, most, got float64) {
	r.Bars = append(r.Bars, bar{Name: name, Got: got, Most: most, OK: got <= most})
}

func (r *report) met() bool {
	return len(r.Bars) > 0 && !slices.ContainsFunc(r.Bars, func(b bar) bool { return !b.OK })
}

func (r *report) sizes() (all []int64) {
	for _, m := range r.Runs {
		if !slices.Contains(all, m.MemoryMiB) {
			all = append(all, m.MemoryMiB)
		}
	}
	return all
}

func (r *report) median(size int64, way string, of func(one) float64) float64 {
	var values []float64
	for _, m := range r.Runs {
		if m.MemoryMiB == size && m.Way == way {
			values = append(values, of(m))
		}
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "link: %.0f MiB/s\n\nmemory\tway\tset-up\tswitch\tsent\trequest to running\tQEMU's downtime\tclient's gap\n", r.Link/(1<<20))
	for _, size := range r.sizes() {
		for _, way := range []string{instant, plain} {
			of := func(f func(one) float64) float64 { return r.median(size, way, f) }
			fmt.Fprintf(t, "%d MiB\t%s\t%.0f ms\t%.0f ms\t%.1f MiB\t%.0f ms\t%.0f ms\t%.0f ms\n", size, way,
				of(func(m one) float64 { return float64(m.Setup) }), of(func(m one) float64 { return float64(m.Switch) }),
				of(func(m one) float64 { return float64(m.Bytes) / (1 << 20) }), of(func(m one) float64 { return float64(m.Running) }),
				of(func(m one) float64 { return float64(m.Downtime) }), of(func(m one) float64 { return m.Gap }))
		}
	}
	fmt.Fprintln(t)
	for _, b := range r.Bars {
		verdict := "pass"
		if !b.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%.0f ms\tat most %.0f ms\t%s\n", b.Name, b.Got, b.Most, verdict)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}

func (r *report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bench-instant.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
