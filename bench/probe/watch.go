package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/probe"
)

// sink is a server that takes everything and counts the ends of connections: its
// time is nearly nothing.
type sink struct{ ends int }

func (s *sink) Send(_ context.Context, report []byte) error {
	s.ends += bytes.Count(report, []byte(`"direction":`))
	return nil
}

// watch is the process that is measured.
func watch(ctx context.Context, source string) error {
	debug.SetGCPercent(50) // both as the role has them
	debug.SetMemoryLimit(36 << 20)
	dir, err := os.MkdirTemp("", "dwp-")
	if err != nil {
		return fmt.Errorf("make a directory for the spool: %w", err)
	}
	defer os.RemoveAll(dir)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var s sink
	p, err := probe.New(probe.Config{Host: "bench", Dir: dir, Sender: &s, Log: log, Source: source})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	select {
	case err := <-done:
		return droveway.Errorf(droveway.Unsupported, "source %s: %w", source, err)
	case <-p.Ready():
	}
	fmt.Println("ready")
	err = <-done
	fmt.Println(s.ends)
	return err
}
