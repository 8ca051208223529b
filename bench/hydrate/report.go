package main

import (
	"fmt"
	"io"

	"github.com/droveway/droveway/bench/verdict"
)

// The bars, for moves as they are by default.
const (
	minShare  = 0.4 // of the guest's writes before
	minOfPeer = 0.7 // of pre-copy's rate
)

// report is bench-hydrate.json.
type report struct {
	verdict.Setting
	DiskMiB int64         `json:"disk_mib"`
	Rows    []row         `json:"rows"`
	Bars    []verdict.Bar `json:"bars"`
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
			return verdict.Quantile(some, 0.5)
		}
		r.Before = median(func(k sample) float64 { return k.before })
		r.During = median(func(k sample) float64 { return k.during })
		r.Share = median(func(k sample) float64 { return k.during / k.before })
		r.Sync = median(func(k sample) float64 { return k.syncMiB })
		rows = append(rows, r)
	}
	return rows
}

func newReport(s verdict.Setting, diskMiB int64, rows []row, preCopy float64) report {
	r := report{Setting: s, DiskMiB: diskMiB, Rows: rows}
	for i := range r.Rows {
		r.Rows[i].PreCopy = preCopy
	}
	first := r.Rows[0]
	whole := first.Lost == 0
	r.Bars = []verdict.Bar{
		verdict.NewBar("guest's writes during hydration, of before", first.Share, verdict.AtLeast, minShare, "").If(whole),
		verdict.NewBar("rate of the sync, of pre-copy's", first.Sync/preCopy, verdict.AtLeast, minOfPeer, "").If(whole),
	}
	return r
}

func (r report) print(w io.Writer) error {
	return verdict.Print(w, r.Bars, func(t io.Writer) {
		for _, k := range r.Rows {
			fmt.Fprintf(t, "reads from %s\t%.0f writes/s before\t%.0f during (%.0f %%)\tsync %.0f MiB/s\tpre-copy %.0f MiB/s\t%d lost\n",
				k.Reads, k.Before, k.During, 100*k.Share, k.Sync, k.PreCopy, k.Lost)
		}
	})
}
