// Idle measures what Droveway takes when nothing happens: how soon a server is
// ready, the memory of server and host agent, and how quickly a list is answered
// with many machines in the table.
//
// It needs root. It makes a lab with one host and writes bench-idle.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab"
)

const takeDownTime = time.Minute

func main() {
	out := flag.String("out", "out", "directory for the results")
	binary := flag.String("binary", "bin/droveway", "the droveway binary")
	flag.Parse()
	verdict.Main("bench/idle", func(ctx context.Context) (bool, error) {
		return run(ctx, *out, *binary, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	})
}

func run(ctx context.Context, out, binary string, log *slog.Logger) (bool, error) {
	if err := verdict.NeedRoot("makes network namespaces"); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "dwi-")
	if err != nil {
		return false, fmt.Errorf("make a directory for the lab: %w", err)
	}
	r, err := measureIn(ctx, dir, binary, log)
	if err := errors.Join(err, takeDown(ctx, dir)); err != nil {
		return false, err
	}
	if err := verdict.Write(out, "bench-idle.json", r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}

func measureIn(ctx context.Context, dir, binary string, log *slog.Logger) (report, error) {
	l, err := lab.Up(ctx, lab.Config{Dir: filepath.Join(dir, "lab"), Hosts: 1, Binary: binary, Uplink: true, Log: log})
	if err != nil {
		return report{}, err
	}
	access, err := client.LoadContext(l.ContextFile())
	if err != nil {
		return report{}, err
	}
	api, err := client.New(access)
	if err != nil {
		return report{}, err
	}
	defer api.Close()
	b := bed{lab: l, api: api, dir: dir, binary: binary}
	return b.measure(ctx)
}

func takeDown(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
	defer cancel()
	return errors.Join(lab.Down(ctx, filepath.Join(dir, "lab")), os.RemoveAll(dir))
}
