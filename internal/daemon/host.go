package daemon

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/network"
)

// HostConfig says how a host is to be. Address is kept once it has joined.
type HostConfig struct {
	Member
	Address   netip.Addr // for the traffic between hosts; zero: the one that reaches the server
	Driver    string     // qemu or mem
	GuestUser string     // user that guests run as; empty: an unprivileged one, if it can reach Data
	Accel     string     // kvm or tcg; empty: the best there is
	HideCPU   []string   // flags of the CPU that no guest gets
	Peers     []netip.Addr

	// Hypervisor is used instead of Driver, if set: drivers in memory move
	// guests only between those of one process.
	Hypervisor hypervisor.Driver
}

// Host runs the agent of a host until ctx ends; guests go on without it. A host
// that has no identity yet joins the fleet first.
func Host(ctx context.Context, cfg HostConfig) error {
	unlock, err := lock(&cfg.Data, "host")
	if err != nil {
		return err
	}
	defer unlock()
	if err := runHost(ctx, cfg); ctx.Err() == nil {
		return err
	}
	return nil // whatever failed failed because the host was told to stop
}

func runHost(ctx context.Context, cfg HostConfig) error {
	id, err := identify(ctx, joining{Member: cfg.Member, address: cfg.Address})
	if err != nil {
		return err
	}
	cfg.Log = cfg.Log.With("host", id.Bus.Name)
	api, err := client.New(id.API)
	if err != nil {
		return err
	}
	defer api.Close()
	conn, err := bus.Dial(ctx, id.Bus, cfg.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	agent, err := newAgent(cfg, id, conn, api)
	if err != nil {
		return err
	}
	cfg.Log.Info("host is running", "address", id.Address, "bus", id.Bus.URL)
	beside := newGroup(ctx)
	defer func() { _ = beside.stop() }() // it does not fail
	r := &renewal{name: id.Bus.Name, dir: filepath.Join(cfg.Data, identityDir, tlsDir), api: api, log: cfg.Log}
	beside.run("certificate", func(ctx context.Context) error { r.run(ctx); return nil })
	return agent.Run(ctx)
}

func newAgent(cfg HostConfig, id identity, conn *bus.Conn, api *client.Client) (*host.Agent, error) {
	agent := host.Config{
		Name: id.Bus.Name, Dir: cfg.Data, Address: id.Address, Server: hostOf(id.API.Server), Conn: conn, Driver: cfg.Hypervisor,
		Images: downloads{api}, Peers: cfg.Peers, Version: cli.Version(), Log: cfg.Log,
	}
	switch {
	case agent.Driver != nil:
	case cfg.Driver == "mem":
		agent.Driver = mem.New()
	case cfg.Driver == "qemu":
		agent.Driver = qemu.New(qemu.Config{Accel: cfg.Accel, HideCPU: cfg.HideCPU, User: guestUser(cfg.GuestUser, cfg.Data, cfg.Log), Log: cfg.Log})
		agent.Fabric = network.New(network.Config{Address: id.Address, Log: cfg.Log})
		agent.TLSDir = filepath.Join(cfg.Data, identityDir, tlsDir)
	default:
		return nil, droveway.Errorf(droveway.Invalid, "driver %q: use qemu or mem", cfg.Driver)
	}
	return host.New(agent)
}

// hostOf is the host of a URL.
func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// guestUser is whom guests run as whose files are in dir. That they run as root is
// worth a warning, but not worth a role.
func guestUser(wanted, dir string, log *slog.Logger) string {
	if wanted != "" {
		return wanted
	}
	name, err := qemu.DefaultUser(dir)
	if err != nil {
		log.Warn("guests run as root", "why", err)
	}
	return name
}

// downloads fetches images from the server.
type downloads struct{ api *client.Client }

func (d downloads) Open(ctx context.Context, i host.Image, offset int64) (io.ReadCloser, error) {
	return d.api.OpenImage(ctx, i.Name, offset)
}
