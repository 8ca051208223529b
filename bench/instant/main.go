// Instant measures how soon a guest runs on another host, by the size of its
// memory: if its memory follows (--instant), and if it goes first. Both parts are
// told: what the hypervisor takes to set up, and the rest.
//
// It needs root. It makes a lab with two hosts and writes bench-instant.json.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/lab/scene"
)

const (
	diskMiB      = 96
	takeDownTime = time.Minute
)

// options are what the command line says.
type options struct {
	out, binary string
	runs        int
	memory      []int64 // MiB
	link        int64   // bits a second
}

func main() {
	o, err := parse()
	verdict.Main("bench/instant", func(ctx context.Context) (bool, error) {
		if err != nil {
			return false, err
		}
		return o.run(ctx)
	})
}

func parse() (o options, err error) {
	flag.StringVar(&o.out, "out", "out", "directory for the results")
	flag.StringVar(&o.binary, "binary", "bin/droveway", "the droveway binary")
	flag.IntVar(&o.runs, "runs", 5, "moves of each kind and size")
	flag.Int64Var(&o.link, "link", 1e9, "bits a second that the hosts' links carry")
	sizes := flag.String("memory", "256,4096", "sizes of memory, in MiB")
	flag.Parse()
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return o, droveway.Errorf(droveway.Invalid, "-memory %q: give sizes in MiB, as 256,4096", *sizes)
		}
		o.memory = append(o.memory, n)
	}
	return o, nil
}

func (o options) run(ctx context.Context) (bool, error) {
	if err := verdict.AtLeastOne("runs", o.runs); err != nil {
		return false, err
	}
	if err := verdict.NeedRoot("makes network namespaces"); err != nil {
		return false, err
	}
	setting := verdict.Here()
	s, err := scene.Temporary(ctx, scene.Config{Binary: o.binary, Hosts: 2, LinkRate: o.link, Log: slog.New(slog.DiscardHandler)}, diskMiB)
	if err != nil {
		return false, err
	}
	r, err := measure(ctx, s, o)
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
	defer cancel()
	if err := errors.Join(err, s.Close(down)); err != nil {
		return false, err
	}
	r.Setting = setting
	if err := verdict.Write(o.out, "bench-instant.json", r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}
