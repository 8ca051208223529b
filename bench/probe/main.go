// Probe measures what a probe takes from the machine that it watches: its
// processor time, the time of its programs in the kernel, and its memory, while
// 1,000 connections a second open and close, with every source of events that
// works here. Both ends of each are on this machine, so the probe sees 2,000
// ends a second; its reports are thrown away.
//
// It needs root and writes bench-probe.json.
package main

import (
	"context"
	"flag"
	"os"
	"time"

	"github.com/droveway/droveway/bench/verdict"
)

func main() {
	out := flag.String("out", "out", "directory for the results")
	rate := flag.Int("rate", 1000, "connections a second")
	during := flag.Duration("for", 20*time.Second, "how long to measure each source")
	watch := flag.String("watch", "", "be the probe with this source: the benchmark starts itself so")
	flag.Parse()
	verdict.Main("bench/probe", func(ctx context.Context) (bool, error) {
		return run(ctx, *out, *watch, bed{*rate, *during})
	})
}

func run(ctx context.Context, out, source string, b bed) (bool, error) {
	if source != "" {
		return true, watch(ctx, source)
	}
	if err := verdict.NeedRoot("loads programs into the kernel"); err != nil {
		return false, err
	}
	r, err := b.measure(ctx)
	if err != nil {
		return false, err
	}
	if err := verdict.Write(out, "bench-probe.json", r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}
