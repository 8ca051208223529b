package main

import (
	"fmt"
	"io"

	"github.com/droveway/droveway/bench/verdict"
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
	verdict.Setting
	ServerKiB     int64         `json:"server_rss_kib"`
	HostKiB       int64         `json:"host_rss_kib"`
	FullServerKiB int64         `json:"server_rss_with_machines_kib"`
	Machines      int           `json:"machines"`
	ListP50       float64       `json:"list_p50_ms"`
	ListP99       float64       `json:"list_p99_ms"`
	ReadyFirst    float64       `json:"ready_first_start_ms"` // makes its authority, keys and tables
	ReadyAgain    float64       `json:"ready_next_start_ms"`
	Bars          []verdict.Bar `json:"bars"`
}

func judge(r report) []verdict.Bar {
	most := func(name string, got, want float64, unit string) verdict.Bar {
		return verdict.NewBar(name, got, verdict.AtMost, want, unit)
	}
	return []verdict.Bar{
		most("server, idle", mib(r.ServerKiB), maxServerMiB, "MiB"),
		most(fmt.Sprintf("server, idle with %d machines", r.Machines), mib(r.FullServerKiB), maxServerMiB, "MiB"),
		most("host agent, idle", mib(r.HostKiB), maxHostMiB, "MiB"),
		most(fmt.Sprintf("list of %d machines, median", r.Machines), r.ListP50, maxListMS, "ms"),
		most(fmt.Sprintf("list of %d machines, 99 of 100", r.Machines), r.ListP99, maxListMS, "ms"),
		most("server ready, first start", r.ReadyFirst, maxReadyMS, "ms"),
		most("server ready, next start", r.ReadyAgain, maxReadyMS, "ms"),
	}
}

func mib(kib int64) float64 { return float64(kib) / 1024 }

// print tells the bars: each figure has one.
func (r report) print(w io.Writer) error { return verdict.Print(w, r.Bars, func(io.Writer) {}) }
