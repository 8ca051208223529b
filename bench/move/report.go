package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/droveway/droveway/bench/verdict"
)

// figures are what is measured of a move from outside; null where a mode has no
// such thing, or does not tell.
type figures struct {
	RequestToRunning figure `json:"request_to_running_ms"`
	RequestToDone    figure `json:"request_to_done_ms"` // until the source is not needed any more
	ClientGap        figure `json:"client_gap_ms"`      // longest wait for an answer, from request to done
	SwitchGap        figure `json:"switch_gap_ms"`      // longest one around the moment of the switch
	WaitP50          figure `json:"client_wait_p50_ms"` // of all waits for an answer, from request to done
	WaitP99          figure `json:"client_wait_p99_ms"`
	Downtime         figure `json:"downtime_ms"`      // of a restart: from the last durable record before to the first after it
	QEMUDowntime     figure `json:"qemu_downtime_ms"` // QEMU's own figure
	Sync             figure `json:"sync_s"`           // how long the disk took
	SyncRate         figure `json:"sync_mib_per_s"`
	WritesBefore     figure `json:"writes_per_s_before"` // records that the guest wrote and flushed, before the request
	WritesDuring     figure `json:"writes_per_s_during"` // the same from request to done
}

// all is for what is done with every figure alike.
func (f *figures) all() []*figure {
	return []*figure{
		&f.RequestToRunning, &f.RequestToDone, &f.ClientGap, &f.SwitchGap, &f.WaitP50, &f.WaitP99,
		&f.Downtime, &f.QEMUDowntime, &f.Sync, &f.SyncRate, &f.WritesBefore, &f.WritesDuring,
	}
}

// proof is what became of the guest's records and of its client's connection.
type proof struct {
	Acknowledged uint64 `json:"acknowledged"`     // records that the guest called durable
	Lost         uint64 `json:"lost"`             // of these, not on the target's disk
	Wrong        uint64 `json:"wrong"`            // what the guest read back and found changed
	SessionKept  bool   `json:"tcp_session_kept"` // the client had one connection all the time
}

// result is one trial.
type result struct {
	trial
	Filled bool `json:"filled"` // no block of the disk is empty
	figures
	proof
}

// row is what the runs of one size and mode have in common: medians, of the gaps
// also what the worst of a hundred would be, and of the losses the sum.
type row struct {
	DiskMiB int64 `json:"disk_mib"`
	Filled  bool  `json:"filled"`
	Mode    mode  `json:"mode"`
	Runs    int   `json:"runs"`
	figures
	ClientGapP50 figure `json:"client_gap_p50_ms"` // over the runs
	ClientGapP99 figure `json:"client_gap_p99_ms"`
	SwitchGapP50 figure `json:"switch_gap_p50_ms"`
	SwitchGapP99 figure `json:"switch_gap_p99_ms"`
	proof               // SessionKept: in every run
}

// leftOut is a trial that was not made.
type leftOut struct {
	trial
	Why string `json:"why"`
}

// setting is what all trials have in common.
type setting struct {
	verdict.Setting
	Accelerator string `json:"accelerator"`
	QEMU        string `json:"qemu"`
	MemoryMiB   int64  `json:"memory_mib"` // of the guest
	TLS         bool   `json:"tls"`        // memory and disk travel encrypted, in every mode
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
	k := row{DiskMiB: some[0].DiskMiB, Filled: some[0].Filled, Mode: some[0].Mode, Runs: len(some)}
	for i, f := range k.all() {
		*f = median(each(some, func(r result) figure { return *r.all()[i] })).rounded()
	}
	client := each(some, func(r result) figure { return r.ClientGap })
	atSwitch := each(some, func(r result) figure { return r.SwitchGap })
	k.ClientGapP50, k.ClientGapP99 = k.ClientGap, quantile(client, 0.99).rounded()
	k.SwitchGapP50, k.SwitchGapP99 = k.SwitchGap, quantile(atSwitch, 0.99).rounded()
	k.SessionKept = true
	for _, r := range some {
		k.Acknowledged += r.Acknowledged
		k.Lost += r.Lost
		k.Wrong += r.Wrong
		k.SessionKept = k.SessionKept && r.SessionKept
	}
	return k
}

func each(results []result, f func(result) figure) []figure {
	values := make([]figure, len(results))
	for i, r := range results {
		values[i] = f(r)
	}
	return values
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
	if err := verdict.Write(dir, "bench-move.json", r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench-move.svg"), picture(r), 0o644); err != nil {
		return fmt.Errorf("draw the results: %w", err)
	}
	return nil
}
