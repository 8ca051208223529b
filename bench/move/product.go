package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/workload"
)

// switchover is the step of a move after which the guest runs on the target.
const switchover = "switchover"

// product moves and restarts as any user does: by the API.
type product struct {
	*bed
	trial
	guest *scene.Guest
	from  string
}

func (p *product) boot(ctx context.Context) (disk string, err error) {
	if g, ok := p.machines[p.DiskMiB]; ok {
		p.guest, err = g, p.start(ctx, g)
	} else {
		p.guest, err = p.create(ctx)
	}
	if err != nil {
		return "", err
	}
	p.from, err = p.guest.Host(ctx)
	root := p.guest.Disks[0]
	return p.scene.Volume(p.from, p.guest.Name, root.Name, root.Format), err
}

func (p *product) start(ctx context.Context, g *scene.Guest) error {
	j, err := p.scene.API.StartMachine(ctx, g.Name, "")
	if _, err := p.scene.Must(ctx, j, err); err != nil {
		return err
	}
	return g.AskAgain(ctx)
}

// create makes the machine of a size. Its image is in the library only as long
// as that takes, for the sake of room.
func (p *product) create(ctx context.Context) (*scene.Guest, error) {
	path, err := p.images.get(ctx, p.DiskMiB)
	if err != nil {
		return nil, err
	}
	name := p.name()
	if err := p.scene.Import(ctx, name, path); err != nil {
		return nil, err
	}
	g, err := p.scene.Start(ctx, scene.GuestConfig{
		Name: name, MemoryMiB: memoryMiB, Image: name, Host: p.hosts[0].name, Work: workload.Config{DelayMS: betweenRecords},
	})
	if err != nil {
		return nil, err
	}
	p.machines[p.DiskMiB] = g
	return g, p.scene.API.RemoveImage(ctx, name)
}

func (p *product) name() string { return fmt.Sprintf("bench-%d", p.DiskMiB) }

func (p *product) watch() *scene.Watch { return p.guest.Watch }

func (p *product) move(ctx context.Context) (moved, error) {
	if p.Mode == quickRestart {
		return p.restart(ctx)
	}
	to := p.other(p.from).name
	j, err := p.guest.Move(ctx, to)
	if err != nil {
		return moved{}, err
	}
	var running time.Time
	j, err = p.scene.Wait(ctx, j, func(j droveway.Job) {
		if running.IsZero() && slices.Contains(j.Done, switchover) {
			running = time.Now()
		}
	})
	if err == nil {
		err = scene.Succeeded(j)
	}
	if err != nil {
		return moved{}, err
	}
	var r client.MoveResult
	if err := client.Decode(j.Result, &r); err != nil {
		return moved{}, err
	}
	m := moved{running: running, downtime: milliseconds(r.Downtime), sync: milliseconds(r.Sync)}
	return m, arrived(r, to)
}

func (p *product) restart(ctx context.Context) (moved, error) {
	to := p.other(p.from).name
	j, err := p.scene.API.RestartMachine(ctx, p.guest.Name, client.RestartRequest{To: to, Mode: "reboot"}, "")
	if j, err = p.scene.Must(ctx, j, err); err != nil {
		return moved{}, err
	}
	var r client.RestartResult
	if err := client.Decode(j.Result, &r); err != nil {
		return moved{}, err
	}
	return moved{downtime: none(), sync: milliseconds(r.Sync)}, arrived(r.MoveResult, to)
}

// arrived is an error unless the machine is where it should be, with a disk that
// was proved equal.
func arrived(r client.MoveResult, to string) error {
	if r.Equal && r.Live == to {
		return nil
	}
	return droveway.Errorf(droveway.Internal, "the job ended without a proof, or elsewhere: live on %s, equal %v: %s", r.Live, r.Equal, r.Why)
}

func milliseconds(n int64) figure { return figure(n) }

func (p *product) check(ctx context.Context) (check.Result, error) { return p.guest.Check(ctx) }

func (p *product) forget(ctx context.Context) error {
	var err error
	if g, ok := p.machines[p.DiskMiB]; ok {
		delete(p.machines, p.DiskMiB)
		err = g.Close()
	}
	j, failed := p.scene.API.RemoveMachine(ctx, p.name(), "")
	if _, failed = p.scene.Must(ctx, j, failed); !droveway.Is(failed, droveway.NotFound) {
		err = errors.Join(err, failed)
	}
	if failed := p.scene.API.RemoveImage(ctx, p.name()); !droveway.Is(failed, droveway.NotFound) {
		err = errors.Join(err, failed)
	}
	return err
}
