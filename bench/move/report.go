package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// result is one move as it was measured from outside. Times are in
// milliseconds where the name does not say otherwise.
type result struct {
	trial
	Filled           bool     `json:"filled"` // no block of the disk is empty
	RequestToRunning float64  `json:"request_to_running_ms"`
	RequestToDone    float64  `json:"request_to_done_ms"`   // until the source is not needed any more
	ClientGap        float64  `json:"client_gap_ms"`        // longest wait for an answer, from request to done
	ClientGapSwitch  float64  `json:"client_gap_switch_ms"` // longest one around the moment of the switch
	QEMUDowntime     float64  `json:"qemu_downtime_ms"`     // QEMU's own figure
	Sync             *float64 `json:"sync_s"`               // how long the disk took; null: not told apart
	Acknowledged     uint64   `json:"acknowledged"`         // records that the guest called durable
	Lost             uint64   `json:"lost"`                 // of these, not on the target's disk
	Wrong            uint64   `json:"wrong"`                // what the guest read back and found changed
	SessionKept      bool     `json:"tcp_session_kept"`     // the client had one connection all the time
}

// row is what the runs of one size and mode have in common: medians, and of the
// losses the sum.
type row struct {
	DiskMiB            int64    `json:"disk_mib"`
	Filled             bool     `json:"filled"`
	Mode               mode     `json:"mode"`
	Runs               int      `json:"runs"`
	RequestToRunning   float64  `json:"request_to_running_ms"`
	RequestToDone      float64  `json:"request_to_done_ms"`
	ClientGap          float64  `json:"client_gap_ms"`
	ClientGapP99       float64  `json:"client_gap_p99_ms"` // over the runs
	ClientGapSwitch    float64  `json:"client_gap_switch_ms"`
	ClientGapSwitchP99 float64  `json:"client_gap_switch_p99_ms"`
	QEMUDowntime       float64  `json:"qemu_downtime_ms"`
	Sync               *float64 `json:"sync_s"`
	Acknowledged       uint64   `json:"acknowledged"`
	Lost               uint64   `json:"lost"`
	Wrong              uint64   `json:"wrong"`
	SessionKept        bool     `json:"tcp_session_kept"` // in every run
}

// leftOut is a trial that was not made.
type leftOut struct {
	trial
	Why string `json:"why"`
}

// setting is what all trials have in common.
type setting struct {
	Time        time.Time `json:"time"`
	CPUs        int       `json:"cpus"`
	LoadBefore  float64   `json:"load_before"` // of the last minute: near 0 on a quiet machine
	Accelerator string    `json:"accelerator"`
	QEMU        string    `json:"qemu"`
	MemoryMiB   int64     `json:"memory_mib"` // of the guest
	TLS         bool      `json:"tls"`        // memory and disk travel encrypted, in every mode
}

// report is bench-move.json.
type report struct {
	Setting setting   `json:"setting"`
	Rows    []row     `json:"rows"`
	Results []result  `json:"runs"`
	LeftOut []leftOut `json:"left_out"`
	Bars    []bar     `json:"bars"`
}

func newReport(s setting, results []result, out []leftOut) report {
	// JSON has [] for nothing, not null.
	r := report{Setting: s, Rows: summarize(results), Results: append([]result{}, results...), LeftOut: append([]leftOut{}, out...)}
	r.Bars = judge(r)
	return r
}

// summarize makes the rows, in the order in which size and mode first occur.
func summarize(results []result) []row {
	rows := []row{}
	for _, r := range results {
		known := slices.ContainsFunc(rows, func(k row) bool { return k.DiskMiB == r.DiskMiB && k.Mode == r.Mode })
		if !known {
			rows = append(rows, summary(alike(results, r.DiskMiB, r.Mode)))
		}
	}
	return rows
}

func alike(results []result, size int64, m mode) (some []result) {
	for _, r := range results {
		if r.DiskMiB == size && r.Mode == m {
			some = append(some, r)
		}
	}
	return some
}

func summary(some []result) row {
	of := func(q float64, figure func(result) float64) float64 {
		values := make([]float64, len(some))
		for i, r := range some {
			values[i] = figure(r)
		}
		return tenths(quantile(values, q))
	}
	gap := func(r result) float64 { return r.ClientGap }
	atSwitch := func(r result) float64 { return r.ClientGapSwitch }
	sum := row{
		DiskMiB: some[0].DiskMiB, Filled: some[0].Filled, Mode: some[0].Mode, Runs: len(some),
		RequestToRunning: of(0.5, func(r result) float64 { return r.RequestToRunning }),
		RequestToDone:    of(0.5, func(r result) float64 { return r.RequestToDone }),
		ClientGap:        of(0.5, gap), ClientGapP99: of(0.99, gap),
		ClientGapSwitch: of(0.5, atSwitch), ClientGapSwitchP99: of(0.99, atSwitch),
		QEMUDowntime: of(0.5, func(r result) float64 { return r.QEMUDowntime }),
		Sync:         medianSync(some), SessionKept: true,
	}
	for _, r := range some {
		sum.Acknowledged += r.Acknowledged
		sum.Lost += r.Lost
		sum.Wrong += r.Wrong
		sum.SessionKept = sum.SessionKept && r.SessionKept
	}
	return sum
}

func medianSync(some []result) *float64 {
	var values []float64
	for _, r := range some {
		if r.Sync != nil {
			values = append(values, *r.Sync)
		}
	}
	if len(values) == 0 {
		return nil
	}
	m := median(values)
	return &m
}

func (r report) row(size int64, m mode) (row, bool) {
	i := slices.IndexFunc(r.Rows, func(k row) bool { return k.DiskMiB == size && k.Mode == m })
	if i < 0 {
		return row{}, false
	}
	return r.Rows[i], true
}

// write leaves the report, and its picture, in a directory.
func (r report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	files := map[string][]byte{"bench-move.json": append(text, '\n'), "bench-move.svg": picture(r)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	return nil
}
