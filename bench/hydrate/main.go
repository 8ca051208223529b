// Hydrate measures what a guest that writes all the time has of its disk while
// that follows it to another host: its durable writes a second before a move and
// during hydration, and how fast the disk follows. Beside it stands how fast
// QEMU's own copy of the disk is, with the same guest, disk and link, as
// bench/move makes it.
//
// It needs root and writes bench-hydrate.json.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/droveway/droveway"
)

// options is what the command line says.
type options struct {
	out, binary string
	diskMiB     int64
	reads       []string
	runs        int
	rate        int64   // of the copy, bytes a second; 0: no bound
	peer        float64 // MiB a second of pre-copy; 0: to be measured
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "out", "directory for the results")
	flag.StringVar(&o.binary, "binary", "bin/droveway", "the droveway binary")
	flag.Int64Var(&o.diskMiB, "size", 1024, "size of the disk in MiB")
	reads := flag.String("reads", "source,local", "where the guest reads from during hydration")
	flag.IntVar(&o.runs, "runs", 3, "moves of each kind; results are medians")
	flag.Int64Var(&o.rate, "rate", 0, "bound of the copy in bytes a second; 0: none")
	flag.Float64Var(&o.peer, "precopy", 0, "rate of pre-copy in MiB a second, if it is known; 0: measure it")
	flag.Parse()
	o.reads = strings.Split(*reads, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	met, err := o.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/hydrate:", err)
	}
	if err != nil || !met {
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) (bool, error) {
	if os.Geteuid() != 0 {
		return false, droveway.Errorf(droveway.Permission, "the benchmark makes network namespaces and needs root: run it with sudo")
	}
	rows, err := o.hydrations(ctx)
	if err != nil {
		return false, err
	}
	if o.peer == 0 {
		if o.peer, err = o.preCopy(ctx); err != nil {
			return false, err
		}
	}
	r := newReport(o.diskMiB, rows, o.peer)
	if err := r.write(o.out); err != nil {
		return false, err
	}
	return r.print(os.Stdout), nil
}
