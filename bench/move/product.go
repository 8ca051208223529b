package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

const (
	machineName = "bench"
	diskName    = "root"
	// switchover is the step of a move after which the guest runs on the target.
	switchover = "switchover"
)

// product moves as any user does: by the API.
type product struct{ *bed }

func (p *product) boot(ctx context.Context, g guest) error {
	image, err := p.upload(ctx, g)
	if err != nil {
		return err
	}
	spec := droveway.MachineSpec{
		CPUs: 1, MemoryMiB: memoryMiB, Running: true, UserData: g.userData,
		Disks: []droveway.Disk{{Name: diskName, Image: image, Format: droveway.Raw}},
		NICs:  []droveway.NIC{{Network: p.network.Name, MAC: guestMAC, Address: guestAddress.Addr()}},
	}
	// Placed by a wish that holds for the first start only: the rest is a move.
	if err := p.onlyHost(ctx, p.from.name); err != nil {
		return err
	}
	job, err := p.api.CreateMachine(ctx, client.MachineRequest{Name: machineName, Spec: spec}, "")
	if err != nil {
		return err
	}
	if _, err := p.wait(ctx, job); err != nil {
		return err
	}
	return p.onlyHost(ctx, "")
}

// upload puts the image into the library, once for all trials of its size.
func (p *product) upload(ctx context.Context, g guest) (string, error) {
	if name, ok := p.imported[g.sizeMiB]; ok {
		return name, nil
	}
	f, err := os.Open(g.image)
	if err != nil {
		return "", fmt.Errorf("read image: %w", err)
	}
	defer f.Close()
	name := fmt.Sprintf("tiny-%d", g.sizeMiB)
	if _, err := p.api.ImportImage(ctx, name, f, g.sizeMiB<<20); err != nil {
		return "", err
	}
	p.imported[g.sizeMiB] = name
	return name, nil
}

// onlyHost lets new machines go to one host alone; empty: to all.
func (p *product) onlyHost(ctx context.Context, name string) error {
	for _, s := range []site{p.from, p.to} {
		cordoned := name != "" && s.name != name
		if _, err := p.api.PatchHost(ctx, s.name, client.HostPatch{Cordoned: &cordoned}); err != nil {
			return err
		}
	}
	return nil
}

func (p *product) move(ctx context.Context) (moved, error) {
	var m moved
	job, err := p.api.MoveMachine(ctx, machineName, client.MoveRequest{To: p.to.name}, "")
	if err != nil {
		return m, err
	}
	job, err = p.api.WatchJob(ctx, job.Name, func(j droveway.Job) {
		if m.running.IsZero() && slices.Contains(j.Done, switchover) {
			m.running = time.Now()
		}
	})
	if err != nil {
		return m, err
	}
	if err := succeeded(job); err != nil {
		return m, err
	}
	var r client.MoveResult
	if err := client.Decode(job.Result, &r); err != nil {
		return m, err
	}
	if !r.Equal || r.Live != p.to.name || m.running.IsZero() {
		return m, droveway.Errorf(droveway.Internal, "the move ended without a proof, or elsewhere: %s", job.Result)
	}
	sync := time.Duration(r.Sync) * time.Millisecond
	m.downtime, m.sync = time.Duration(r.Downtime)*time.Millisecond, &sync
	return m, nil
}

func (p *product) halt(ctx context.Context) (string, error) {
	job, err := p.api.StopMachine(ctx, machineName, client.StopRequest{}, "")
	if err == nil {
		_, err = p.wait(ctx, job)
	}
	return filepath.Join(p.lab.Dir(p.to.name), "volumes", droveway.VolumeName(machineName, diskName)+".raw"), err
}

func (p *product) clear(ctx context.Context) error {
	job, err := p.api.RemoveMachine(ctx, machineName, "")
	if droveway.Is(err, droveway.NotFound) {
		return nil
	}
	if err == nil {
		_, err = p.wait(ctx, job)
	}
	return err
}

func (p *product) wait(ctx context.Context, j droveway.Job) (droveway.Job, error) {
	j, err := p.api.WatchJob(ctx, j.Name, func(droveway.Job) {})
	if err != nil {
		return j, err
	}
	return j, succeeded(j)
}

func succeeded(j droveway.Job) error {
	if j.State != droveway.JobSucceeded {
		return droveway.Errorf(droveway.Internal, "job %s ended %s in step %s: %s", j.Name, j.State, j.Step, j.Error)
	}
	return nil
}
