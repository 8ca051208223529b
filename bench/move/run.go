package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/droveway/droveway/bench/verdict"
)

// run makes all the trials and reports; it tells whether no bar was missed. A
// trial that fails costs its own result and no other.
func run(ctx context.Context, o options, log *slog.Logger) (bool, error) {
	if err := verdict.NeedRoot("makes network namespaces"); err != nil {
		return false, err
	}
	began := time.Now()
	images, err := newCache()
	if err != nil {
		return false, err
	}
	b, err := setUp(ctx, o, images, log)
	if err != nil {
		return false, err
	}
	defer b.takeDown(ctx)
	s := series{bed: b, out: o.out, print: os.Stderr, budget: budget{limit: o.budget}, began: began}
	failed := s.run(ctx, schedule(o.runs, o.sizes, o.modes))
	r := s.report()
	if len(r.Results) == 0 {
		return false, errors.Join(failed, fmt.Errorf("nothing was measured"))
	}
	return !missed(r.Bars), errors.Join(failed, r.print(os.Stdout))
}

// series is the trials that are being made.
type series struct {
	bed     *bed
	out     string    // directory of the report
	print   io.Writer // for the person who waits
	budget  budget
	began   time.Time
	results []result
	leftOut []leftOut
}

// run makes one trial after the other, and keeps the report up to date, so that
// an end before time leaves what was measured.
func (s *series) run(ctx context.Context, trials []trial) (failed error) {
	if s.budget.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, s.began.Add(s.budget.limit))
		defer cancel()
	}
	for i, t := range trials {
		if ctx.Err() != nil {
			return errors.Join(failed, context.Cause(ctx))
		}
		if why := s.budget.refuse(t, time.Since(s.began)); why != "" {
			s.leftOut = append(s.leftOut, leftOut{t, why})
			continue
		}
		fmt.Fprintf(s.print, "%2d of %d, about %s left: %s\n", i+1, len(trials), minutes(s.budget.remaining(trials[i:])), t)
		if err := s.one(ctx, t); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", t, err))
			s.leftOut = append(s.leftOut, leftOut{t, "it failed: " + err.Error()})
			fmt.Fprintf(s.print, "         it failed: %v\n", err)
		}
		if err := s.report().write(s.out); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

func (s *series) one(ctx context.Context, t trial) error {
	start := time.Now()
	k, err := s.bed.trial(ctx, t)
	if err != nil {
		return err
	}
	s.budget.learn(t, time.Since(start))
	s.results = append(s.results, k)
	fmt.Fprintf(s.print, "         runs on the target after %s, longest gap %s, %d of %d records lost\n",
		msText(k.RequestToRunning), msText(k.gap()), k.Lost, k.Acknowledged)
	return nil
}

func (s *series) report() report { return newReport(s.bed.setting, s.results, s.leftOut) }

// gap is the longest time in which the guest was seen to do nothing.
func (f figures) gap() figure {
	if f.Downtime.known() {
		return f.Downtime
	}
	return f.ClientGap
}

func minutes(d time.Duration) string {
	if d < time.Minute {
		return "a minute"
	}
	return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
}
