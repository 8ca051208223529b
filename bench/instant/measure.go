package main

import (
	"context"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/workload"
)

// The ways of moving.
const (
	instant = "instant"
	plain   = "plain"
)

// The guest is idle but for some records a second.
const (
	delayMS = 200
	settled = 5 // records between two moves
)

// one is a single move. Times are in milliseconds.
type one struct {
	MemoryMiB int64   `json:"memory_mib"`
	Way       string  `json:"way"`
	Running   int64   `json:"request_to_running_ms"`
	Setup     int64   `json:"setup_ms"`            // of the hypervisor
	Switch    int64   `json:"switch_ms,omitempty"` // from when postcopy was asked for until the guest ran
	Bytes     int64   `json:"bytes"`               // of memory that were sent
	Downtime  int64   `json:"qemu_downtime_ms"`
	Gap       float64 `json:"client_gap_ms"` // the longest that a client saw, from the request to the end
}

func measure(ctx context.Context, s *scene.Scene, o options) (report, error) {
	r := report{Runs: []one{}}
	hosts := s.Lab.Hosts()
	var err error
	if r.Link, err = linkRate(ctx, s, hosts[0], hosts[1]); err != nil {
		return r, err
	}
	for _, size := range o.memory {
		if err := r.size(ctx, s, size, o.runs); err != nil {
			return r, err
		}
	}
	r.judge()
	return r, nil
}

// size moves one guest to and fro, in both ways by turns.
func (r *report) size(ctx context.Context, s *scene.Scene, memory int64, runs int) error {
	g, err := s.Start(ctx, scene.GuestConfig{Name: fmt.Sprintf("m%d", memory), MemoryMiB: memory, Work: workload.Config{DelayMS: delayMS}})
	if err != nil {
		return err
	}
	defer g.Close()
	for range runs {
		for _, way := range []string{instant, plain} {
			if err := g.Works(ctx, settled); err != nil {
				return err
			}
			m, err := move(ctx, s, g, way)
			if err != nil {
				return fmt.Errorf("%s move of %d MiB: %w", way, memory, err)
			}
			m.MemoryMiB = memory
			r.Runs = append(r.Runs, m)
		}
	}
	j, err := s.API.RemoveMachine(ctx, g.Name, "")
	_, err = s.Must(ctx, j, err)
	return err
}

func move(ctx context.Context, s *scene.Scene, g *scene.Guest, way string) (one, error) {
	asked := time.Now()
	j, err := s.API.MoveMachine(ctx, g.Name, client.MoveRequest{Instant: way == instant}, "")
	if j, err = s.Must(ctx, j, err); err != nil {
		return one{}, err
	}
	var res client.MoveResult
	if err := client.Decode(j.Result, &res); err != nil {
		return one{}, err
	}
	if res.Memory == nil || !res.Equal {
		return one{}, droveway.Errorf(droveway.Internal, "job %s does not tell of the memory, or has no proof: %s", j.Name, j.Result)
	}
	gap := g.Client.Between(asked, time.Now()).LongestGap
	return one{
		Way: way, Running: res.RequestToRunning, Setup: res.Memory.Setup, Switch: res.Memory.Switch, Bytes: res.Memory.Bytes,
		Downtime: res.Downtime, Gap: float64(gap.Microseconds()) / 1000,
	}, nil
}
