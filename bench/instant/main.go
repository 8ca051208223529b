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
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/tinyimage"
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
	var r report
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		r, err = o.run(ctx)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/instant:", err)
	}
	if err != nil || !r.met() {
		os.Exit(1)
	}
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

func (o options) run(ctx context.Context) (report, error) {
	if os.Geteuid() != 0 {
		return report{}, droveway.Errorf(droveway.Permission, "the benchmark makes network namespaces and needs root: run it with sudo")
	}
	dir, err := os.MkdirTemp("", "dwm-")
	if err != nil {
		return report{}, fmt.Errorf("make a directory for the lab: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // guests run as another user
		return report{}, err
	}
	s, err := o.open(ctx, dir)
	if err != nil {
		return report{}, err
	}
	r, err := measure(ctx, s, o)
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
	defer cancel()
	if err := errors.Join(err, s.Close(down)); err != nil {
		return report{}, err
	}
	if err := r.write(o.out); err != nil {
		return report{}, err
	}
	return r, r.print(os.Stdout)
}

func (o options) open(ctx context.Context, dir string) (*scene.Scene, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	image, err := tinyimage.Build(ctx, tinyimage.Config{Cache: filepath.Join(cache, "droveway", "images"), SizeMiB: diskMiB, Filled: true})
	if err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	return scene.Open(ctx, scene.Config{
		Dir: filepath.Join(dir, "l"), Binary: binary, Hosts: 2, LinkRate: o.link, Image: image, Log: slog.New(slog.DiscardHandler),
	})
}
