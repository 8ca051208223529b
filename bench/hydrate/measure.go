package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/workload"
)

const (
	memoryMiB = 256
	bootTime  = 2 * time.Minute
	moveTime  = 2 * time.Minute
	clearTime = time.Minute
	// before is how long the guest's undisturbed rate is taken.
	before  = 5 * time.Second
	someRec = 20
)

// sample is one move.
type sample struct {
	reads                   string
	before, during, syncMiB float64 // a second
}

// hydrations moves a guest there and back again.
func (o options) hydrations(ctx context.Context) (rows []row, err error) {
	s, err := scene.Temporary(ctx, scene.Config{Binary: o.binary, Hosts: 2, Log: slog.New(slog.DiscardHandler)}, o.diskMiB)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
		defer cancel()
		err = errors.Join(err, s.Close(ctx))
	}()
	g, err := s.Start(ctx, scene.GuestConfig{Name: "writer", MemoryMiB: memoryMiB, Host: s.Lab.Hosts()[0], Work: workload.Config{}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	var all []sample
	for range o.runs {
		for _, reads := range o.reads {
			k, err := o.move(ctx, s, g, reads)
			if err != nil {
				return nil, fmt.Errorf("reads from %s: %w", reads, err)
			}
			fmt.Fprintf(os.Stderr, "reads from %s: %.0f writes a second before, %.0f during hydration at %.0f MiB a second\n", reads, k.before, k.during, k.syncMiB)
			all = append(all, k)
		}
	}
	found, err := g.Check(ctx)
	if err != nil {
		return nil, err
	}
	return summarize(o.reads, all, found.Lost+g.Observer.Summary().Wrong()), nil
}

// move moves the guest to the other host.
func (o options) move(ctx context.Context, s *scene.Scene, g *scene.Guest, reads string) (k sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime+moveTime)
	defer cancel()
	k.reads = reads
	if err := g.Works(ctx, someRec); err != nil {
		return k, err
	}
	quiet := mark(g)
	select {
	case <-ctx.Done():
		return k, context.Cause(ctx)
	case <-time.After(before):
	}
	k.before = quiet.rate(mark(g))
	from, err := g.Host(ctx)
	if err != nil {
		return k, err
	}
	hosts := s.Lab.Hosts()
	j, err := s.API.MoveMachine(ctx, g.Name, client.MoveRequest{To: hosts[1-slices.Index(hosts, from)], Reads: reads, SyncRate: o.rate}, "")
	if err != nil {
		return k, err
	}
	w := window{guest: g}
	if j, err = s.Wait(ctx, j, w.see); err != nil {
		return k, err
	}
	var r client.MoveResult
	if err := client.Decode(j.Result, &r); err != nil {
		return k, err
	}
	if j.State != droveway.JobSucceeded || !r.Equal || r.Sync <= 0 {
		return k, droveway.Errorf(droveway.Internal, "job %s ended %s: %s %s", j.Name, j.State, j.Error, j.Result)
	}
	k.during, k.syncMiB = w.begin.rate(w.end), float64(r.SyncBytes>>20)*1000/float64(r.Sync)
	return k, nil
}

// moment is how much was acknowledged when.
type moment struct {
	at    time.Time
	acked uint64
}

func mark(g *scene.Guest) moment {
	return moment{time.Now(), g.Observer.Summary().Acknowledged()}
}

func (m moment) rate(end moment) float64 {
	return float64(end.acked-m.acked) / end.at.Sub(m.at).Seconds()
}

// window is the time of hydration, as its job tells.
type window struct {
	guest      *scene.Guest
	begin, end moment
}

func (w *window) see(j droveway.Job) {
	if w.begin.at.IsZero() && slices.Contains(j.Done, "switchover") {
		w.begin = mark(w.guest)
	}
	if w.end.at.IsZero() && slices.Contains(j.Done, "hydrate") {
		w.end = mark(w.guest)
	}
}
