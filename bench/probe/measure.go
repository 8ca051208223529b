package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/discover/probe"
	"golang.org/x/sys/unix"
)

// warmUp is until caches are full and the first survey is over.
const warmUp = 5 * time.Second

// settle is longer than a probe keeps what it has to report.
const settle = 3 * time.Second

// bed is how to measure.
type bed struct {
	rate   int
	during time.Duration
}

func (b bed) measure(ctx context.Context) (report, error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return report{}, fmt.Errorf("have the kernel measure its programs: %w", err)
	}
	defer stats.Close()
	r := report{Setting: verdict.Here(), Rate: b.rate, Seconds: b.during.Seconds()}
	for _, source := range probe.Sources() {
		m, err := b.source(ctx, source)
		if err != nil {
			return r, err
		}
		r.Sources = append(r.Sources, m)
	}
	r.Bars = judge(r)
	return r, nil
}

// source measures a probe with one source, in a process of its own.
func (b bed) source(ctx context.Context, source string) (m measured, err error) {
	m.Source = source
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	child := exec.CommandContext(ctx, self, "-watch", source)
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return m, err
	}
	if err := child.Start(); err != nil {
		return m, fmt.Errorf("start a probe: %w", err)
	}
	lines := bufio.NewScanner(out)
	defer func() { err = errors.Join(err, m.finish(child, lines)) }()
	if !lines.Scan() {
		return m, droveway.Errorf(droveway.Unavailable, "the probe with source %s does not start", source)
	}
	err = b.under(ctx, &m, child.Process.Pid)
	wait(ctx, settle) // until the last report
	return m, err
}

// finish ends the probe and takes its count.
func (m *measured) finish(child *exec.Cmd, lines *bufio.Scanner) error {
	err := child.Process.Signal(syscall.SIGTERM)
	if lines.Scan() {
		m.Reported, err = strconv.Atoi(lines.Text())
	}
	return errors.Join(err, child.Wait())
}

// under measures a process under load.
func (b bed) under(ctx context.Context, m *measured, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, warmUp+b.during+time.Second)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		n, err := load(ctx, b.rate)
		m.Opened = n
		failed <- err
		cancel()
	}()
	err := m.sample(ctx, pid, b.during)
	cancel()
	return errors.Join(<-failed, err)
}

// sample compares before and after, and looks at the memory in between.
func (m *measured) sample(ctx context.Context, pid int, during time.Duration) error {
	wait(ctx, warmUp)
	before, err := use(pid)
	if err != nil {
		return err
	}
	start := time.Now()
	for end := start.Add(during); time.Now().Before(end) && ctx.Err() == nil; {
		wait(ctx, time.Second/2)
		kib, err := residentKiB(pid)
		if err != nil {
			return err
		}
		m.residentAll = append(m.residentAll, kib)
	}
	after, err := use(pid)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	m.Process = 100 * (after.process - before.process).Seconds() / seconds
	m.Programs = 100 * (after.programs - before.programs).Seconds() / seconds
	m.ResidentKiB = slices.Max(m.residentAll)
	return ctx.Err()
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
