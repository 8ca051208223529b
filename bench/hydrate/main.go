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
	"os"
	"strings"

	"github.com/droveway/droveway/bench/verdict"
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
	verdict.Main("bench/hydrate", o.run)
}

func (o options) run(ctx context.Context) (bool, error) {
	if err := verdict.AtLeastOne("runs", o.runs); err != nil {
		return false, err
	}
	if err := verdict.NeedRoot("makes network namespaces"); err != nil {
		return false, err
	}
	setting := verdict.Here()
	rows, err := o.hydrations(ctx)
	if err != nil {
		return false, err
	}
	if o.peer == 0 {
		if o.peer, err = o.preCopy(ctx); err != nil {
			return false, err
		}
	}
	r := newReport(setting, o.diskMiB, rows, o.peer)
	if err := verdict.Write(o.out, "bench-hydrate.json", r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}
