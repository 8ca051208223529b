// Move measures how soon a machine with a filled local disk runs on another
// host, and what its client notices: Droveway's moves and restarts, which switch
// first and sync after, beside what people use, which copies the disk first:
// QEMU's pre-copy, virsh migrate, and a restart by hand. All in the same lab,
// with the same guest, disk, network and encryption, one run of each after the
// other.
//
// It needs root. It makes a lab, keeps disk images in the user's cache
// directory, and writes bench-move.json and bench-move.svg. It exits with 1 if
// something failed, and with 3 if all was measured and a bar was missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway/bench/verdict"
)

// options is what the command line says.
type options struct {
	out    string
	binary string
	sizes  []int64 // MiB
	modes  []mode
	runs   int
	budget time.Duration // 0: no limit
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/move:", err)
		os.Exit(2)
	}
	verdict.Main("bench/move", func(ctx context.Context) (bool, error) {
		return run(ctx, o, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	})
}

func parse(args []string) (options, error) {
	o := options{sizes: []int64{64, 1024, 8192}, modes: possibleModes()}
	f := flag.NewFlagSet("bench/move", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "out", "directory for the results")
	f.StringVar(&o.binary, "binary", "bin/droveway", "the droveway binary")
	f.IntVar(&o.runs, "runs", 5, "runs of each size and mode; results are medians")
	f.DurationVar(&o.budget, "budget", 58*time.Minute, "of all; what would take longer is left out; 0: no limit")
	f.Func("sizes", "sizes of the disk in MiB, such as 64,1024,8192 (the default)", func(s string) (err error) {
		o.sizes, err = parseSizes(s)
		return err
	})
	f.Func("modes", "ways to move and restart, of "+names(allModes)+" (default: all, without virsh's where libvirt is missing)",
		func(s string) (err error) {
			o.modes, err = parseModes(s)
			return err
		})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.runs < 1 || f.NArg() > 0 {
		return o, fmt.Errorf("give -runs 1 or more, and no arguments beside the flags")
	}
	return o, nil
}

// Sizes that are asked for; the guest's system needs some room.
const (
	minSizeMiB = 64
	maxSizeMiB = 1 << 20
)

func parseSizes(s string) (sizes []int64, err error) {
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < minSizeMiB || n > maxSizeMiB {
			return nil, fmt.Errorf("size %q: give MiB from %d to %d", part, minSizeMiB, maxSizeMiB)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}
