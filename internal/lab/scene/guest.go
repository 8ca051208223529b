package scene

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/observer"
	"github.com/droveway/droveway/internal/lab/workload"
)

// Guest is a machine of a scene, with those who watch it.
type Guest struct {
	*Watch
	Disks []droveway.Disk
	Job   droveway.Job // that has made it, or still fills its disk
}

// GuestConfig says what machine to make.
type GuestConfig struct {
	Name      string
	MemoryMiB int64
	Image     string       // of the root disk; empty: that of Open
	Origin    string       // that the root disk is filled from, in qcow2, instead
	CPU       droveway.CPU // empty: what all hosts give
	Firmware  droveway.Firmware
	SizeMiB   int64           // of the root disk; 0: of the image
	Format    droveway.Format // of the root disk; empty: raw
	More      []droveway.Disk
	Host      string // where it begins; empty: the fleet chooses
	Work      workload.Config
}

const rootDisk = "root"

// Start makes a machine, starts it, and watches it from before its first
// instruction.
func (s *Scene) Start(ctx context.Context, c GuestConfig) (*Guest, error) {
	w, err := s.Watch(c.Name)
	if err != nil {
		return nil, err
	}
	c.Work.Observer = w.Address()
	g := &Guest{Watch: w}
	if err := g.create(ctx, c); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Guest) create(ctx context.Context, c GuestConfig) error {
	user, err := c.Work.UserData()
	if err != nil {
		return err
	}
	if c.Format == "" {
		c.Format = droveway.Raw
	}
	if c.Image == "" && c.Origin == "" {
		c.Image = ImageName
	}
	if c.Origin != "" {
		c.Format = droveway.QCOW2
	}
	g.Disks = append([]droveway.Disk{{Name: rootDisk, Image: c.Image, Origin: c.Origin, SizeMiB: c.SizeMiB, Format: c.Format}}, c.More...)
	spec := droveway.MachineSpec{CPUs: 1, CPU: c.CPU, MemoryMiB: c.MemoryMiB, Firmware: c.Firmware, Running: true, Disks: g.Disks, UserData: user, NICs: []droveway.NIC{{Network: NetworkName}}}
	release, err := g.scene.only(ctx, c.Host)
	if err != nil {
		return err
	}
	g.Job, err = g.scene.API.CreateMachine(ctx, client.MachineRequest{Name: c.Name, Spec: spec}, "")
	if err = g.runs(ctx, err, c.Origin != ""); err != nil {
		return errors.Join(err, release())
	}
	if err := release(); err != nil {
		return err
	}
	return g.AskAgain(ctx)
}

// runs waits until the machine runs; its disk may be filled for long afterwards.
func (g *Guest) runs(ctx context.Context, err error, filled bool) error {
	if !filled {
		g.Job, err = g.scene.Must(ctx, g.Job, err)
		return err
	}
	for err == nil {
		if g.Job, err = g.scene.API.Job(ctx, g.Job.Name); err == nil && slices.Contains(g.Job.Done, "finish") {
			return nil
		}
		if err == nil && g.Job.State.Ended() {
			return Succeeded(g.Job)
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	return err
}

// AskAgain sets a client up for the machine, instead of the one before.
func (g *Guest) AskAgain(ctx context.Context) error {
	m, err := g.scene.API.Machine(ctx, g.Name)
	if err != nil {
		return err
	}
	g.Ask(m.Spec.NICs[0].Address)
	return nil
}

// only lets new machines go to one host alone, until the function it returns is
// called. It is a wish for the first start; the rest is moves.
func (s *Scene) only(ctx context.Context, host string) (func() error, error) {
	if host == "" {
		return func() error { return nil }, nil
	}
	cordon := func(yes bool) error {
		for _, h := range s.Lab.Hosts() {
			if h == host {
				continue
			}
			if _, err := s.API.PatchHost(ctx, h, client.HostPatch{Cordoned: &yes}); err != nil {
				return err
			}
		}
		return nil
	}
	return func() error { return cordon(false) }, cordon(true)
}

// Host is where the machine is.
func (g *Guest) Host(ctx context.Context) (string, error) {
	m, err := g.scene.API.Machine(ctx, g.Name)
	return m.Status.Host, err
}

// Move starts a move.
func (g *Guest) Move(ctx context.Context, to string) (droveway.Job, error) {
	return g.scene.API.MoveMachine(ctx, g.Name, client.MoveRequest{To: to}, "")
}

// Check stops the machine and holds its disk against what the observer noted.
func (g *Guest) Check(ctx context.Context) (check.Result, error) {
	return g.check(ctx, check.Tiny)
}

// CheckDebian is Check for a guest with Debian on its disk.
func (g *Guest) CheckDebian(ctx context.Context) (check.Result, error) {
	return g.check(ctx, check.Debian)
}

func (g *Guest) check(ctx context.Context, look func(context.Context, string, droveway.Format, observer.Summary) (check.Result, error)) (check.Result, error) {
	j, err := g.scene.API.StopMachine(ctx, g.Name, client.StopRequest{GraceSeconds: 5}, "")
	if _, err := g.scene.Must(ctx, j, err); err != nil {
		return check.Result{}, err
	}
	host, err := g.Host(ctx)
	if err != nil {
		return check.Result{}, err
	}
	root := g.Disks[0]
	return look(ctx, g.scene.Volume(host, g.Name, root.Name, root.Format), root.Format, g.Observer.Summary())
}

// Dirty is a workload that rewrites so much memory all the time.
func Dirty(mib int) workload.Config { return workload.Config{DirtyMiB: mib} }
