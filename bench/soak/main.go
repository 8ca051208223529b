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
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

const (
	hosts     = 3
	diskMiB   = 96
	memoryMiB = 128
)

func main() {
	var o options
	flag.DurationVar(&o.span, "for", 15*time.Minute, "how long")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the order of what is done")
	flag.IntVar(&o.guests, "guests", 3, "how many guests")
	flag.StringVar(&o.out, "out", "out", "directory for soak.json")
	flag.StringVar(&o.binary, "binary", "bin/droveway", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

type options struct {
	span        time.Duration
	seed        uint64
	guests      int
	out, binary string
}

func (o options) run(ctx context.Context) error {
	s, clean, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer clean()
	p := newParty(s, o.seed)
	if err := p.invite(ctx, o.guests); err != nil {
		return err
	}
	fmt.Printf("seed %d: %d guests on %d hosts for %s\n", o.seed, o.guests, hosts, o.span)
	err = p.goOn(ctx, time.Now().Add(o.span))
	return p.report(ctx, o.out, err)
}

// open brings the scene up.
func (o options) open(ctx context.Context) (*scene.Scene, func(), error) {
	dir, err := os.MkdirTemp("/var/tmp", "dws-") // short, for the sake of sockets
	if err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // guests run as another user
		return nil, nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, nil, err
	}
	image, err := tinyimage.Build(ctx, tinyimage.Config{Cache: filepath.Join(cache, "droveway", "images"), SizeMiB: diskMiB, Filled: true})
	if err != nil {
		return nil, nil, err
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, nil, err
	}
	s, err := scene.Open(ctx, scene.Config{Dir: filepath.Join(dir, "l"), Binary: binary, Hosts: hosts, Image: image, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	return s, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "soak: the lab leaves something behind:", err)
		}
		os.RemoveAll(dir)
	}, nil
}
