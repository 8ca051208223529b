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
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/droveway/droveway"
)

func main() {
	out := flag.String("out", "out", "directory for the results")
	rate := flag.Int("rate", 1000, "connections a second")
	during := flag.Duration("for", 20*time.Second, "how long to measure each source")
	watch := flag.String("watch", "", "be the probe with this source: the benchmark starts itself so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	met, err := run(ctx, *out, *watch, bed{*rate, *during})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/probe:", err)
	}
	if err != nil || !met {
		os.Exit(1)
	}
}

func run(ctx context.Context, out, source string, b bed) (bool, error) {
	if source != "" {
		return true, watch(ctx, source)
	}
	if os.Geteuid() != 0 {
		return false, droveway.Errorf(droveway.Permission, "the benchmark loads programs into the kernel and needs root: run it with sudo")
	}
	r, err := b.measure(ctx)
	if err != nil {
		return false, err
	}
	if err := r.write(out); err != nil {
		return false, err
	}
	return met(r.Bars), r.print(os.Stdout)
}
