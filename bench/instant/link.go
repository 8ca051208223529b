package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/droveway/droveway/internal/lab/scene"
)

// linkTime is how long the link is measured.
const linkTime = 2 * time.Second

// linkRate is what a plain connection from one host to another carries, in bytes a
// second.
func linkRate(ctx context.Context, s *scene.Scene, from, to string) (float64, error) {
	h, err := s.API.Host(ctx, to)
	if err != nil {
		return 0, err
	}
	ln, err := s.Lab.Listen(ctx, s.Lab.HostNS(to), "tcp", net.JoinHostPort(h.Status.Address, "0"))
	if err != nil {
		return 0, fmt.Errorf("measure the link: %w", err)
	}
	defer ln.Close()
	rate := make(chan float64, 1)
	go func() { rate <- sink(ln) }()
	c, err := s.Lab.Dial(ctx, s.Lab.HostNS(from), "tcp", ln.Addr().String())
	if err != nil {
		return 0, fmt.Errorf("measure the link: %w", err)
	}
	piece := make([]byte, 256<<10)
	for end := time.Now().Add(linkTime); time.Now().Before(end) && err == nil; {
		_, err = c.Write(piece)
	}
	if c.Close(); err != nil {
		return 0, fmt.Errorf("measure the link: %w", err)
	}
	return <-rate, nil
}

// sink takes what one connection brings, and tells how fast it came.
func sink(ln net.Listener) float64 {
	c, err := ln.Accept()
	if err != nil {
		return 0
	}
	defer c.Close()
	begun := time.Now()
	n, _ := io.Copy(io.Discard, c) // its end is the end of the measurement
	return float64(n) / time.Since(begun).Seconds()
}
