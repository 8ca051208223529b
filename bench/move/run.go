package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/droveway/droveway"
)

// run makes all the trials and reports; it tells whether the bars were met. A
// trial that fails costs its own result and no other.
func run(ctx context.Context, o options, log *slog.Logger) (bool, error) {
	if os.Geteuid() != 0 {
		return false, droveway.Errorf(droveway.Permission, "the benchmark makes network namespaces and needs root: run it with sudo")
	}
	images, err := newCache()
	if err != nil {
		return false, err
	}
	b, err := setUp(ctx, o, images, log)
	if err != nil {
		return false, err
	}
	defer b.takeDown(ctx)
	r, err := b.trials(ctx, o)
	if len(r.Results) == 0 {
		return false, errors.Join(err, fmt.Errorf("nothing was measured"))
	}
	return met(r.Bars), errors.Join(err, r.print(os.Stdout))
}

// trials makes one trial after the other, and keeps the report up to date, so
// that an end before time leaves what was measured.
func (b *bed) trials(ctx context.Context, o options) (r report, failed error) {
	var results []result
	var out []leftOut
	times := budget{limit: o.budget}
	began := time.Now()
	for _, t := range schedule(o.runs, o.sizes, o.modes) {
		if why := times.refuse(t, time.Since(began)); why != "" {
			out = append(out, leftOut{t, why})
			continue
		}
		start := time.Now()
		k, err := b.trial(ctx, t)
		if ctx.Err() != nil {
			return r, errors.Join(failed, context.Cause(ctx))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", t, err))
			out = append(out, leftOut{t, "it failed: " + err.Error()})
			continue
		}
		times.learn(t, time.Since(start))
		results = append(results, k)
		fmt.Fprintf(os.Stderr, "%s: runs on the target after %s, longest client gap %s, %d of %d records lost\n",
			t, msText(k.RequestToRunning), msText(k.ClientGap), k.Lost, k.Acknowledged)
		r = newReport(b.setting, results, out)
		if err := r.write(o.out); err != nil {
			return r, errors.Join(failed, err)
		}
	}
	r = newReport(b.setting, results, out)
	return r, errors.Join(failed, r.write(o.out))
}
