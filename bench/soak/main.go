// Command soak lets several guests work on three hosts while they are moved,
// restarted and called back at random, and roles, instances and storage daemons
// are killed meanwhile. In the end every guest's disk is held against what an
// observer outside noted: nothing may be missing or wrong. A seed repeats the
// order of what is done.
//
//	go run ./bench/soak --for 15m --seed 1 --out out     (root)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/lab/scene"
)

const (
	hosts     = 3
	diskMiB   = 96
	memoryMiB = 128

	takeDownTime = time.Minute
)

func main() {
	var o options
	flag.DurationVar(&o.span, "for", 15*time.Minute, "how long")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the order of what is done")
	flag.IntVar(&o.guests, "guests", 3, "how many guests")
	flag.StringVar(&o.out, "out", "out", "directory for soak.json")
	flag.StringVar(&o.binary, "binary", "bin/droveway", "the program")
	flag.Parse()
	verdict.Main("bench/soak", func(ctx context.Context) (bool, error) { return true, o.run(ctx) })
}

type options struct {
	span        time.Duration
	seed        uint64
	guests      int
	out, binary string
}

func (o options) run(ctx context.Context) (err error) {
	if err := verdict.NeedRoot("makes network namespaces"); err != nil {
		return err
	}
	s, err := scene.Temporary(ctx, scene.Config{Binary: o.binary, Hosts: hosts, Log: slog.New(slog.DiscardHandler)}, diskMiB)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
		defer cancel()
		err = errors.Join(err, s.Close(ctx))
	}()
	p := newParty(s, o.seed)
	if err := p.invite(ctx, o.guests); err != nil {
		return err
	}
	fmt.Printf("seed %d: %d guests on %d hosts for %s\n", o.seed, o.guests, hosts, o.span)
	err = p.goOn(ctx, time.Now().Add(o.span))
	return p.report(ctx, o.out, err)
}
