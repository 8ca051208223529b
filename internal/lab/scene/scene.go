// Package scene is a lab in which a guest works and is watched: what demo, lab
// tests and soak have in common. The guest writes records and reports them to an
// observer in the client's place, and a client there asks it all the time.
//
// It speaks to the fleet by its API alone, as any user does.
package scene

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab"
)

const (
	// ImageName is the image that Open imports, if it is given one.
	ImageName = "guest"
	// NetworkName is the network that all machines are on.
	NetworkName = "default"
)

// Config says what scene to make.
type Config struct {
	Dir      string // of the lab: short, for the sake of sockets
	Binary   string // the droveway binary
	Hosts    int
	LinkRate int64  // bits a second
	Image    string // path of a raw disk with the guest program in it; empty: Import later
	Uplink   bool
	DiskMiB  int64 // of a disk of its own for each host; 0: none
	Log      *slog.Logger
}

// Scene is a lab that is up, with an image in its library.
type Scene struct {
	Lab *lab.Lab
	API *client.Client

	log *slog.Logger
	dir string
	own string // is removed, too
}

// clientPrefix is where observers and clients are on the machines' network.
var clientPrefix = netip.MustParsePrefix("10.20.0.2/16")

// Open brings the lab up and imports the image.
func Open(ctx context.Context, c Config) (_ *Scene, err error) {
	l, err := lab.Up(ctx, lab.Config{Dir: c.Dir, Hosts: c.Hosts, Binary: c.Binary, LinkRate: c.LinkRate, Uplink: c.Uplink, DiskMiB: c.DiskMiB, Log: c.Log})
	if err != nil {
		return nil, err
	}
	s := &Scene{Lab: l, log: c.Log, dir: c.Dir}
	if err := s.open(ctx, c.Image); err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Scene) open(ctx context.Context, image string) error {
	access, err := client.LoadContext(s.Lab.ContextFile())
	if err != nil {
		return err
	}
	s.API, err = client.NewVia(access, func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.Lab.Dial(ctx, s.Lab.ServerNS(), network, address)
	})
	if err != nil {
		return err
	}
	n, err := s.Network(ctx)
	if err != nil {
		return err
	}
	if err := s.Lab.JoinNetwork(ctx, n, clientPrefix); err != nil {
		return fmt.Errorf("join network %s: %w", n.Name, err)
	}
	if image == "" {
		return nil
	}
	return s.Import(ctx, ImageName, image)
}

// Network is the network that all machines are on.
func (s *Scene) Network(ctx context.Context) (droveway.Network, error) {
	all, err := s.API.Networks(ctx)
	for _, n := range all {
		if n.Name == NetworkName {
			return n, nil
		}
	}
	return droveway.Network{}, errors.Join(err, droveway.Errorf(droveway.NotFound, "the fleet has no network %s", NetworkName))
}

// Import puts a raw disk into the fleet's library.
func (s *Scene) Import(ctx context.Context, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := s.API.Upload(ctx, name, "scene", f, info.Size(), func(int64) {}); err != nil {
		return err
	}
	// As it is: the guest is made for these hosts.
	r := client.ImportRequest{Upload: "scene", Repair: droveway.RepairNone, Check: droveway.CheckNone}
	j, err := s.API.StartImport(ctx, name, r, "")
	_, err = s.Must(ctx, j, err)
	return err
}

// Close takes the lab down, with every guest in it.
func (s *Scene) Close(ctx context.Context) error {
	if s.API != nil {
		s.API.Close()
	}
	err := lab.Down(ctx, s.dir)
	if droveway.Is(err, droveway.NotFound) {
		err = nil
	}
	if s.own != "" {
		err = errors.Join(err, os.RemoveAll(s.own))
	}
	return err
}

// Volume is the path of a machine's disk on a host.
func (s *Scene) Volume(host, machine, disk string, f droveway.Format) string {
	return filepath.Join(s.Lab.Dir(host), "volumes", droveway.VolumeName(machine, disk)+"."+string(f))
}

// Wait waits for a job; progress, if not nil, sees each change.
func (s *Scene) Wait(ctx context.Context, j droveway.Job, progress func(droveway.Job)) (droveway.Job, error) {
	if progress == nil {
		progress = func(droveway.Job) {}
	}
	return s.API.WatchJob(ctx, j.Name, progress)
}

// Must waits for a job that has to succeed.
func (s *Scene) Must(ctx context.Context, j droveway.Job, err error) (droveway.Job, error) {
	if err != nil {
		return j, err
	}
	if j, err = s.Wait(ctx, j, nil); err != nil {
		return j, err
	}
	return j, Succeeded(j)
}

// Succeeded is an error that says how a job ended, unless it succeeded.
func Succeeded(j droveway.Job) error {
	if j.State != droveway.JobSucceeded {
		return droveway.Errorf(droveway.Internal, "job %s ended %s in step %s: %s", j.Name, j.State, j.Step, j.Error)
	}
	return nil
}
