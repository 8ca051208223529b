package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab"
)

// Where the guest and who watches it are on the machine network. All modes have
// the same, one after the other.
var (
	guestAddress   = netip.MustParsePrefix("10.20.0.10/16")
	witnessAddress = netip.MustParsePrefix("10.20.0.2/16")
)

const (
	guestMAC     = "52:54:00:0b:e0:01"
	networkName  = "default"
	memoryMiB    = 256
	takeDownTime = time.Minute
)

// bed is what all trials share: a lab with two hosts, and between them the same
// network for every mode.
type bed struct {
	lab      *lab.Lab
	dir      string // for disks that are not Droveway's, and for the lab
	from, to site
	client   netip.Addr // of the witness, in the network between hosts
	api      *client.Client
	network  droveway.Network
	images   *cache
	imported map[int64]string // image in Droveway's library, by size
	libvirt  *libvirt         // nil until a trial needs it
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
	b := &bed{dir: dir, images: images, imported: map[int64]string{}, log: log}
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
	load := loadAverage()
	var err error
	b.lab, err = lab.Up(ctx, lab.Config{Dir: b.labDir(), Hosts: 2, Binary: o.binary, Uplink: true, Log: b.log})
	if err != nil {
		return err
	}
	access, err := client.LoadContext(b.lab.ContextFile())
	if err != nil {
		return err
	}
	if b.api, err = client.New(access); err != nil {
		return err
	}
	if err := b.findHosts(ctx, load); err != nil {
		return err
	}
	if b.client, err = b.ownAddress(); err != nil {
		return err
	}
	return b.joinNetwork(ctx)
}

func (b *bed) labDir() string { return filepath.Join(b.dir, "lab") }

// takeDown removes all of it.
func (b *bed) takeDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
	defer cancel()
	if b.api != nil {
		b.api.Close()
	}
	// Every process of every mode is in a namespace of the lab, and ends here.
	err := errors.Join(lab.Down(ctx, b.labDir()), os.RemoveAll(b.dir))
	if err != nil {
		b.log.Error("the benchmark leaves something behind", "dir", b.dir, "error", err)
	}
}

func (b *bed) findHosts(ctx context.Context, load float64) error {
	hosts, err := b.api.Hosts(ctx)
	if err != nil {
		return err
	}
	sites := map[string]site{}
	for _, h := range hosts {
		address, err := netip.ParseAddr(h.Status.Address)
		if err != nil {
			return fmt.Errorf("address of host %s: %w", h.Name, err)
		}
		s := site{
			name: h.Name, address: address, namespace: b.lab.HostNS(h.Name),
			tls: filepath.Join(b.lab.Dir(h.Name), "identity", "tls"), dir: filepath.Join(b.dir, h.Name),
		}
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return fmt.Errorf("make a directory for the disks: %w", err)
		}
		sites[h.Name] = s
		b.setting = setting{
			Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), LoadBefore: load,
			Accelerator: h.Status.Capabilities["accelerator"], QEMU: h.Status.Capabilities["qemu"],
			MemoryMiB: memoryMiB, TLS: true,
		}
	}
	names := b.lab.Hosts()
	b.from, b.to = sites[names[0]], sites[names[1]]
	return nil
}

// joinNetwork puts the witness on the network of the machines.
func (b *bed) joinNetwork(ctx context.Context) error {
	networks, err := b.api.Networks(ctx)
	if err != nil {
		return err
	}
	for _, n := range networks {
		if n.Name == networkName {
			b.network = n
			return b.lab.JoinNetwork(ctx, n, witnessAddress)
		}
	}
	return droveway.Errorf(droveway.NotFound, "the fleet has no network %q", networkName)
}

// loadAverage is how busy the machine was in the last minute; see proc(5).
func loadAverage() float64 {
	var load float64
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		_, err = fmt.Fscan(strings.NewReader(string(text)), &load)
	}
	if err != nil {
		return 0
	}
	return load
}

// path is a place for a file of one trial.
func (s site) path(name string) string { return filepath.Join(s.dir, name) }

// empty removes what a trial left among the disks.
func (s site) empty() error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("clear the disks of %s: %w", s.name, err)
	}
	for _, f := range files {
		if err := os.Remove(s.path(f.Name())); err != nil {
			return fmt.Errorf("clear the disks of %s: %w", s.name, err)
		}
	}
	return nil
}
