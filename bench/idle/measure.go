package main

import (
	"context"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab"
)

const (
	settleTime = 15 * time.Second // after which a role counts as idle
	machines   = 100
	lists      = 200
	starts     = 3
)

// bed is the lab that is measured.
type bed struct {
	lab    *lab.Lab
	api    *client.Client
	dir    string // for data of servers that are only started
	binary string
}

func (b *bed) measure(ctx context.Context) (report, error) {
	r := report{Setting: verdict.Here()}
	if err := sleep(ctx, settleTime); err != nil {
		return r, err
	}
	var err error
	if r.ServerKiB, err = residentKiB(b.lab.Server()); err != nil {
		return r, err
	}
	if r.HostKiB, err = residentKiB(b.lab.Host(b.lab.Hosts()[0])); err != nil {
		return r, err
	}
	if err := b.fill(ctx); err != nil {
		return r, fmt.Errorf("fill the table: %w", err)
	}
	if err := b.list(ctx, &r); err != nil {
		return r, err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return r, err
	}
	if r.FullServerKiB, err = residentKiB(b.lab.Server()); err != nil {
		return r, err
	}
	if err := b.starts(ctx, &r); err != nil {
		return r, err
	}
	r.Bars = judge(r)
	return r, nil
}

// fill makes machines that do not run, with the smallest disk there is.
func (b *bed) fill(ctx context.Context) error {
	for i := range machines {
		spec := droveway.MachineSpec{
			CPUs: 1, MemoryMiB: 64,
			Disks: []droveway.Disk{{Name: "root", SizeMiB: 1, Format: droveway.Raw}},
		}
		job, err := b.api.CreateMachine(ctx, client.MachineRequest{Name: fmt.Sprintf("idle-%d", i), Spec: spec}, "")
		if err != nil {
			return err
		}
		if job, err = b.api.WatchJob(ctx, job.Name, func(droveway.Job) {}); err != nil {
			return err
		}
		if job.State != droveway.JobSucceeded {
			return droveway.Errorf(droveway.Internal, "job %s ended %s: %s", job.Name, job.State, job.Error)
		}
	}
	return nil
}

// list asks for all machines again and again.
func (b *bed) list(ctx context.Context, r *report) error {
	var took []float64
	for range lists {
		start := time.Now()
		all, err := b.api.Machines(ctx)
		if err != nil {
			return err
		}
		took = append(took, ms(time.Since(start)))
		r.Machines = len(all)
	}
	r.ListP50, r.ListP99 = verdict.Quantile(took, 0.5), verdict.Quantile(took, 0.99)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
