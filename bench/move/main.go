// Move measures how soon a machine with a filled local disk runs on another
// host, and what its client notices: Droveway's moves, which switch first and
// sync after, beside those that copy the disk first, in the same lab, with the
// same guest, disk, network and encryption.
//
// It needs root. It makes a lab, keeps disk images in the user's cache
// directory, and writes bench-move.json and bench-move.svg.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	met, err := run(ctx, o, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/move:", err)
	}
	if err != nil || !met {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{sizes: []int64{64, 1024, 8192}, modes: []mode{switchFirst, preCopy}}
	f := flag.NewFlagSet("bench/move", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "out", "directory for the results")
	f.StringVar(&o.binary, "binary", "bin/droveway", "the droveway binary")
	f.IntVar(&o.runs, "runs", 1, "runs of each size and mode; results are medians")
	f.DurationVar(&o.budget, "budget", 45*time.Minute, "what would take longer is left out; 0: no limit")
	f.Func("sizes", "sizes of the disk in MiB, such as 64,1024,8192 (the default)", func(s string) (err error) {
		o.sizes, err = parseSizes(s)
		return err
	})
	f.Func("modes", "ways to move, of "+names(allModes)+" (default "+names(o.modes)+", and virsh's where libvirt is installed)",
		func(s string) (err error) {
			o.modes, err = parseModes(s)
			return err
		})
	if libvirtInstalled() {
		o.modes = allModes
	}
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
