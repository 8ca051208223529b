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

// The bars, for moves as they are by default.
const (
	minShare  = 0.4 // of the guest's writes before
	minOfPeer = 0.7 // of pre-copy's rate
)

// report is bench-hydrate.json.
type report struct {
	Time    time.Time `json:"time"`
	DiskMiB int64     `json:"disk_mib"`
	Rows    []row     `json:"rows"`
	Bars    []bar     `json:"bars"`
}

// row is what the moves of one kind have in common: medians.
type row struct {
	Mode    string  `json:"mode"`
	Reads   string  `json:"reads"`
	Before  float64 `json:"before_per_s"` // durable writes of the guest
	During  float64 `json:"during_per_s"`
	Share   float64 `json:"share"`
	Sync    float64 `json:"sync_mib_per_s"`
	PreCopy float64 `json:"precopy_mib_per_s"`
	Lost    uint64  `json:"lost"` // in all moves together, and records that read back wrong
}

// bar is something that must be reached.
type bar struct {
	Name  string  `json:"name"`
	Got   float64 `json:"got"`
	Least float64 `json:"least"`
	OK    bool    `json:"ok"`
}

func summarize(reads []string, all []sample, lost uint64) (rows []row) {
	for _, from := range reads {
		r := row{Mode: "switch-first", Reads: from, Lost: lost}
		median := func(figure func(sample) float64) float64 {
			var some []float64
			for _, k := range all {
				if k.reads == from {
					some = append(some, figure(k))
				}
			}
			slices.Sort(some)
			return some[len(some)/2]
		}
		r.Before = median(func(k sample) float64 { return k.before })
		r.During = median(func(k sample) float64 { return k.during })
		r.Share = median(func(k sample) float64 { return k.during / k.before })
		r.Sync = median(func(k sample) float64 { return k.syncMiB })
		rows = append(rows, r)
	}
	return rows
}

func newReport(diskMiB int64, rows []row, preCopy float64) report {
	r := report{Time: time.Now().UTC().Truncate(time.Second), DiskMiB: diskMiB, Rows: rows}
	for i := range r.Rows {
		r.Rows[i].PreCopy = preCopy
	}
	first := r.Rows[0]
	r.Bars = []bar{
		{Name: "guest's writes during hydration, of before", Got: first.Share, Least: minShare},
		{Name: "rate of the sync, of pre-copy's", Got: first.Sync / preCopy, Least: minOfPeer},
	}
	for i, b := range r.Bars {
		r.Bars[i].OK = b.Got >= b.Least && first.Lost == 0
	}
	return r
}

func (r report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bench-hydrate.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// print tells the results, and whether all bars were reached.
func (r report) print(w io.Writer) bool {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	for _, k := range r.Rows {
		fmt.Fprintf(t, "reads from %s\t%.0f writes/s before\t%.0f during (%.0f %%)\tsync %.0f MiB/s\tpre-copy %.0f MiB/s\t%d lost\n",
			k.Reads, k.Before, k.During, 100*k.Share, k.Sync, k.PreCopy, k.Lost)
	}
	for _, b := range r.Bars {
		verdict := "pass"
		if !b.OK {
			verdict = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%.2f\tat least %.2f\t%s\n", b.Name, b.Got, b.Least, verdict)
	}
	return !slices.ContainsFunc(r.Bars, func(b bar) bool { return !b.OK })
}
