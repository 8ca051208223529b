package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/droveway/droveway/bench/verdict"
)

// What must be reached, in milliseconds.
const (
	switchMost = 300 // from when postcopy was asked for until the guest runs
	spare      = 300 // of a plain move beyond the set-up and twice the time of the bytes
)

// report is bench-instant.json.
type report struct {
	verdict.Setting
	Link float64       `json:"link_bytes_per_second"` // measured, by one plain connection
	Runs []one         `json:"runs"`
	Bars []verdict.Bar `json:"bars"`
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
	r.Bars = append(r.Bars, verdict.NewBar(name, got, verdict.AtMost, most, "ms"))
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
	return verdict.Quantile(values, 0.5)
}

func (r *report) print(w io.Writer) error {
	return verdict.Print(w, r.Bars, func(t io.Writer) {
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
	})
}
