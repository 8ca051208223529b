package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe"
)

// stage is to the lab what a test would be.
type stage struct{ cleanups []func() }

// failure ends a run.
type failure string

func (s *stage) Helper() {}

func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *stage) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// end cleans up, the last first, and turns a failure into an error.
func (s *stage) end(err *error) {
	if r := recover(); r != nil {
		f, is := r.(failure)
		if !is {
			panic(r)
		}
		*err = fmt.Errorf("%s", string(f))
	}
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// probeRole tells this program to be the probe of a host; its arguments are a
// directory and how far the clock is ahead.
const probeRole = "BENCH_PROBE"

const reportEvery = 200 * time.Millisecond

// probe runs a probe in a host's namespace, and takes its reports.
func (l *labRun) probe(host string, ahead time.Duration) {
	self, err := os.Executable()
	if err != nil {
		l.Fatalf("find this program: %v", err)
	}
	dir, err := os.MkdirTemp("", "probe.")
	if err != nil {
		l.Fatalf("make a probe's directory: %v", err)
	}
	c := l.network.Command(context.Background(), host, self, dir, ahead.String())
	c.Env = append(os.Environ(), probeRole+"="+host)
	c.Stderr = os.Stderr
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if inErr != nil || outErr != nil {
		l.Fatalf("pipes to a probe: %v, %v", inErr, outErr)
	}
	if err := c.Start(); err != nil {
		l.Fatalf("start the probe of %s: %v", host, err)
	}
	l.orders[host] = in
	ended, heard := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(heard)
		hear(host, out, l.reports, ended)
	}()
	l.Cleanup(func() {
		close(ended)
		_ = in.Close() // which it ends by
		<-heard
		_ = c.Wait() // its reports are what counts
		_ = os.RemoveAll(dir)
	})
}

// hear reads reports as the server does. After the end nobody wants them.
func hear(host string, from io.Reader, to chan<- discover.Report, ended <-chan struct{}) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, discover.MaxReport)
	for lines.Scan() {
		r, err := discover.Decode(host, lines.Bytes())
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench/discover: a report is refused:", err)
			continue
		}
		select {
		case to <- r:
		case <-ended:
		}
	}
}

// beProbe is a probe that writes its reports to standard output and takes patterns
// from standard input, until that ends.
func beProbe(host, dir, ahead string) error {
	off, err := time.ParseDuration(ahead)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := probe.New(probe.Config{
		Host: host, Dir: dir, Sender: aloud{json.NewEncoder(os.Stdout)}, Log: log,
		Interval: reportEvery, Own: true, Ahead: off, Patterns: true,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		orders := json.NewDecoder(os.Stdin)
		var a discover.Assignment
		for orders.Decode(&a) == nil { // however it ends
			if err := p.Assign(a); err != nil {
				log.Error("a pattern is not emitted", "host", host, "error", err)
			}
			a = discover.Assignment{}
		}
	}()
	return p.Run(ctx)
}

type aloud struct{ out *json.Encoder }

func (a aloud) Send(_ context.Context, report []byte) error {
	return a.out.Encode(json.RawMessage(report))
}
