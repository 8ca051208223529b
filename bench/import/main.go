// Import measures what it takes until a disk from elsewhere runs here.
//
// First the import of a Debian 12 as VMware leaves it, repaired, with and without the
// boot check, and its repair alone, beside virt-v2v on the same disk. Then the conversion
// of that disk from VMDK into qcow2, beside qemu-img. Then how soon the guest of a Debian 12
// that is at a web server asks for a login: if it runs from there at once, and if the
// image is imported first.
//
// It needs root, and writes bench-import.json and bench-import.svg.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/guestfs"
	"github.com/droveway/droveway/bench/verdict"
)

// The parts.
const (
	partConvert = "convert"
	partRewrite = "rewrite"
	partFirst   = "first"
)

// options are what the command line says.
type options struct {
	out, binary string
	parts       []string
	runs        int
	prove       bool
	data        int64 // MiB beside the system on the far disk
	rate        int64 // bytes a second
	latency     time.Duration
	log         *slog.Logger

	rewrite, into string // files of the one conversion that is measured from outside
}

func allParts() []string { return []string{partConvert, partRewrite, partFirst} }

func main() {
	o := options{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flag.StringVar(&o.out, "out", "out", "directory for the results")
	flag.StringVar(&o.binary, "binary", "bin/droveway", "the droveway binary")
	flag.IntVar(&o.runs, "runs", 3, "of each way; medians count")
	flag.BoolVar(&o.prove, "prove", true, "boot what each way has made, outside of what is measured")
	flag.Int64Var(&o.data, "data", 2048, "MiB on the far disk beside its system, which cannot be compressed")
	flag.Int64Var(&o.rate, "rate", 50<<20, "bytes a second that the far server gives")
	flag.DurationVar(&o.latency, "latency", 20*time.Millisecond, "of the far server")
	parts := flag.String("parts", strings.Join(allParts(), ","), "what is measured")
	flag.StringVar(&o.rewrite, "rewrite", "", "only write this disk into a new file as qcow2: the file that -into names")
	flag.StringVar(&o.into, "into", "", "see -rewrite")
	flag.Parse()
	if o.rewrite != "" {
		verdict.Main("bench/import", o.rewriteOne)
	}
	o.parts = strings.Split(*parts, ",")
	verdict.Main("bench/import", o.run)
}

func (o options) check() error {
	for _, p := range o.parts {
		if !slices.Contains(allParts(), p) {
			return droveway.Errorf(droveway.Invalid, "-parts %q: give some of %s", p, strings.Join(allParts(), ","))
		}
	}
	if err := verdict.AtLeastOne("runs", o.runs); err != nil {
		return err
	}
	if o.rate < 1 || o.data < 1 {
		return droveway.Errorf(droveway.Invalid, "-rate and -data: give at least 1")
	}
	return verdict.NeedRoot("makes images and network namespaces")
}

func (o options) run(ctx context.Context) (_ bool, err error) {
	if err := o.check(); err != nil {
		return false, err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return false, err
	}
	r := report{Setting: verdict.Here(), Rounds: o.runs}
	if r.Accelerator, err = guestfs.Accelerator(ctx); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("/var/tmp", "dwi-") // not in TMPDIR, which may be memory
	if err != nil {
		return false, fmt.Errorf("make a directory for the images: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o711); err != nil { // guests run as another user
		return false, err
	}
	for _, p := range []struct {
		name    string
		measure func(context.Context, string, *report) error
	}{{partConvert, o.conversions}, {partRewrite, o.rewritings}, {partFirst, o.firsts}} {
		if !slices.Contains(o.parts, p.name) {
			continue
		}
		if err := p.measure(ctx, dir, &r); err != nil {
			return false, errors.Join(err, r.write(o.out)) // what was measured by then took long
		}
	}
	r.judge()
	if err := r.write(o.out); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}
