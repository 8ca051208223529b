package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/lab/scene"
)

const (
	memoryMiB    = 256
	takeDownTime = time.Minute
)

// bed is what all trials share: a scene with two hosts, which have the same
// network for every mode, and the guests, which stay from one trial to the next.
type bed struct {
	scene    *scene.Scene
	dir      string // for disks that are not Droveway's, and for the lab
	hosts    []site
	network  droveway.Network
	images   *cache
	machines map[int64]*scene.Guest // Droveway's, by the size of the disk
	plain    map[int64]*plain       // those of the others
	libvirt  map[string]*daemon     // by host; nil until a trial needs it
	setting  setting
	log      *slog.Logger
}

// site is a host of the lab.
type site struct {
	name      string
	address   netip.Addr
	namespace string
	tls       string // directory with its certificates, named as QEMU wants them
	dir       string // for disks that are not Droveway's
}

// setUp makes the bed, once it is sure that its disks will have room.
func setUp(ctx context.Context, o options, images *cache, log *slog.Logger) (*bed, error) {
	// Not in TMPDIR, which may be memory. Short, for the sake of sockets.
	dir, err := os.MkdirTemp("/var/tmp", "dwb-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the disks: %w", err)
	}
	b := &bed{dir: dir, images: images, machines: map[int64]*scene.Guest{}, plain: map[int64]*plain{}, log: log}
	if err := b.setUp(ctx, o); err != nil {
		b.takeDown(ctx)
		return nil, err
	}
	return b, nil
}

func (b *bed) setUp(ctx context.Context, o options) error {
	// Guests may run as another user.
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return fmt.Errorf("open the directory for the disks: %w", err)
	}
	if err := b.images.room(o.sizes, b.dir); err != nil {
		return err
	}
	here := verdict.Here()
	var err error
	b.scene, err = scene.Open(ctx, scene.Config{Dir: filepath.Join(b.dir, "lab"), Hosts: 2, Binary: o.binary, Log: b.log})
	if err != nil {
		return err
	}
	if b.network, err = b.scene.Network(ctx); err != nil {
		return err
	}
	return b.findHosts(ctx, here)
}

// takeDown removes all of it. Every process of every mode is in a namespace of
// the lab, and ends with it.
func (b *bed) takeDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
	defer cancel()
	var err error
	for _, g := range b.machines {
		err = errors.Join(err, g.Close())
	}
	for _, g := range b.plain {
		err = errors.Join(err, g.watch.Close())
	}
	if b.scene != nil {
		err = errors.Join(err, b.scene.Close(ctx))
	}
	if err = errors.Join(err, os.RemoveAll(b.dir)); err != nil {
		b.log.Error("the benchmark leaves something behind", "dir", b.dir, "error", err)
	}
}

func (b *bed) findHosts(ctx context.Context, here verdict.Setting) error {
	for _, name := range b.scene.Lab.Hosts() {
		h, err := b.scene.API.Host(ctx, name)
		if err != nil {
			return err
		}
		s := site{
			name: name, namespace: b.scene.Lab.HostNS(name), dir: filepath.Join(b.dir, name),
			tls: filepath.Join(b.scene.Lab.Dir(name), "identity", "tls"),
		}
		if s.address, err = netip.ParseAddr(h.Status.Address); err != nil {
			return fmt.Errorf("address of host %s: %w", name, err)
		}
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return fmt.Errorf("make a directory for the disks: %w", err)
		}
		b.hosts = append(b.hosts, s)
		b.setting = setting{
			Setting:     here,
			Accelerator: h.Status.Capabilities["accelerator"], QEMU: h.Status.Capabilities["qemu"],
			MemoryMiB: memoryMiB, TLS: true,
		}
	}
	return nil
}

// other is the host that is not the named one.
func (b *bed) other(name string) site {
	if b.hosts[0].name == name {
		return b.hosts[1]
	}
	return b.hosts[0]
}

// path is a place for a file on this host.
func (s site) path(name string) string { return filepath.Join(s.dir, name) }
