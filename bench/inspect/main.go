// Inspect measures droveway image inspect: time, CPU and memory for each image that
// can be built here, and virt-inspector on the same Debian disk where it is
// installed.
//
// It needs root, to make the Debian disk, and writes bench-inspect.json and
// bench-inspect.svg.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"github.com/droveway/droveway/bench/verdict"
)

func main() {
	out := flag.String("out", "out", "directory for the results")
	binary := flag.String("binary", "bin/droveway", "the droveway binary")
	flag.Parse()
	verdict.Main("bench/inspect", func(ctx context.Context) (bool, error) {
		return run(ctx, *out, *binary, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	})
}

func run(ctx context.Context, out, binary string, log *slog.Logger) (bool, error) {
	dir, err := os.MkdirTemp("", "dwn-")
	if err != nil {
		return false, fmt.Errorf("make a directory for the images: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	images, err := build(ctx, dir, log)
	if err != nil {
		return false, err
	}
	r := report{Setting: verdict.Here()}
	for _, i := range images {
		log.Info("inspecting", "image", i.name)
		m, err := measure(ctx, binary, i)
		if err != nil {
			return false, err
		}
		r.Images = append(r.Images, m)
	}
	if r.Peer, err = measurePeer(ctx, images[0], log); err != nil {
		r.NoPeer = err.Error()
		log.Warn("no comparison", "why", err)
	}
	r.judge()
	if err := r.write(out); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}
