package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/discover/service"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/httpapi"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/bootcheck"
	"github.com/droveway/droveway/internal/image/intake"
	"github.com/droveway/droveway/internal/image/origin"
	"github.com/droveway/droveway/internal/machine"
	"github.com/droveway/droveway/internal/migrate"
)

// ServerConfig says how the server is to be.
type ServerConfig struct {
	Data      string   // directory; made if it is missing
	Listen    string   // of the API, host:port; port 0: any free
	BusListen string   // of the bus; empty: port 7422 beside the API
	NBDListen string   // of the disks that machines run from before they are here; empty: port 7424 beside the API
	Advertise []string // addresses or names under which hosts reach the server; empty: found out
	NATS      string   // URL of an external NATS; empty: the embedded one
	NATSSeed  string   // file with the seed of its account
	Kernel    string   // directory with boot/ and lib/modules/ of the kernel that repairs run on; empty: this machine's
	GuestUser string   // user that repairs and boot checks run as; empty: an unprivileged one, if it can reach Data
	Log       *slog.Logger
	Ready     func(api, bus string) // called with the URLs once the API answers; may be nil

	HostCertLife time.Duration // of the certificates of hosts, which renew them; 0: a year
}

// server is the parts of a server.
type server struct {
	cfg       ServerConfig
	names     []string // under which it is reached
	authority *pki.Authority
	metrics   *prometheus.Registry
	bus       *bus.Server
	images    *image.Library
	origins   *origin.Origins
	disks     net.Listener // where hosts read origins
	conn      *bus.Conn
	fleet     *fleet.Fleet
	relations *service.Service
	leases    *lease.Leases
}

// Server runs the server until ctx ends or a part of it fails. Only one server
// can use a data directory: Conflict if there is another.
//
// The bus outlives everything that stands on it: the API and the controllers end
// first, then the connection to the bus, then the bus.
func Server(ctx context.Context, cfg ServerConfig) error {
	unlock, err := lock(&cfg.Data, "server")
	if err != nil {
		return err
	}
	defer unlock()
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	below := newGroup(context.WithoutCancel(ctx))
	below.run("bus", s.bus.Run)
	above := newGroup(ctx)
	// Without the bus nothing else can go on.
	stopAbove := context.AfterFunc(below.ctx, above.cancel)
	defer stopAbove()
	err = s.run(above)
	if s.conn != nil {
		s.conn.Close()
	}
	if busErr := below.stop(); busErr != nil {
		return busErr
	}
	return err
}

func newServer(cfg ServerConfig) (s *server, err error) {
	s = &server{cfg: cfg, metrics: prometheus.NewRegistry()}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.cfg.BusListen == "" {
		if s.cfg.BusListen, err = besides(cfg.Listen, "7422"); err != nil {
			return nil, err
		}
	}
	if s.names, err = reachable(cfg.Advertise, cfg.Listen); err != nil {
		return nil, err
	}
	if s.authority, err = pki.Open(filepath.Join(cfg.Data, "pki")); err != nil {
		return nil, err
	}
	if cfg.HostCertLife > 0 {
		s.authority = s.authority.Lasting(cfg.HostCertLife)
	}
	s.measureAuthority()
	if s.images, err = image.Open(filepath.Join(cfg.Data, libraryDir), cfg.Log); err != nil {
		return nil, err
	}
	if s.origins, err = origin.New(origin.Config{Dir: filepath.Join(cfg.Data, "origins"), Log: cfg.Log}); err != nil {
		return nil, err
	}
	s.bus, err = bus.NewServer(bus.ServerConfig{
		Dir: filepath.Join(cfg.Data, "bus"), Listen: s.cfg.BusListen, Advertise: s.names,
		PKI: s.authority, Log: cfg.Log, Metrics: s.metrics, External: cfg.NATS, ExternalSeed: cfg.NATSSeed,
	})
	return s, err
}

// libraryDir is where the images are, below the server's data.
const libraryDir = "images"

// busTime is how long the bus may take to start.
const busTime = time.Minute

// run connects the parts and runs those that have something to run.
func (s *server) run(g *group) (err error) {
	defer g.cancel()
	defer s.origins.Close()
	if err := s.listenDisks(); err != nil {
		return err
	}
	defer s.disks.Close()
	api, jobs, machines, err := s.wire(g.ctx)
	if err != nil {
		return ended(g, err)
	}
	resign, err := s.beSole(g)
	if err != nil {
		return ended(g, err)
	}
	defer func() { err = cmp.Or(resign(), err) }()
	if err := api.Recover(g.ctx); err != nil {
		return ended(g, fmt.Errorf("recover the images: %w", err))
	}
	ln, url, err := s.listen()
	if err != nil {
		return err
	}
	defer ln.Close()
	cert, err := certificate(s.authority, s.names)
	if err != nil {
		return err
	}
	if err := s.keepAdmin(g.ctx, url); err != nil {
		return ended(g, err)
	}
	g.run("authority", s.watchAuthority)
	g.run("origins", s.keepOrigins)
	g.run("disks", func(ctx context.Context) error { return s.serveDisks(ctx, cert) })
	g.run("jobs", jobs.Run)
	g.run("machines", machines.Run)
	g.run("relations", s.relations.Run)
	g.run("API", func(ctx context.Context) error { return api.Serve(ctx, ln, cert) })
	s.cfg.Log.Info("server is ready", "url", url, "bus", s.bus.URL())
	if s.cfg.Ready != nil {
		s.cfg.Ready(url, s.bus.URL())
	}
	return g.end()
}

// ended drops an error that only says that the role was told to stop.
func ended(g *group, err error) error {
	if g.ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *server) wire(ctx context.Context) (*httpapi.API, *job.Manager, *machine.Controller, error) {
	connecting, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	var err error
	if s.conn, err = s.bus.Connect(connecting); err != nil {
		return nil, nil, nil, err
	}
	if s.fleet, err = fleet.Open(connecting, s.conn); err != nil {
		return nil, nil, nil, err
	}
	if s.relations, err = service.New(service.Config{Conn: s.conn, Fleet: s.fleet, Log: s.cfg.Log}); err != nil {
		return nil, nil, nil, err
	}
	s.leases = lease.New(s.fleet.Stores.Leases, s.conn.JS)
	hosts := host.NewClient(s.conn)
	jobs := job.NewManager(job.ManagerConfig{
		Jobs: s.fleet.Stores.Jobs, Leases: s.leases, Owner: "server", Publish: s.conn.Publish, Log: s.cfg.Log, Metrics: s.metrics,
		Sole: s.cfg.NATS == "", // nobody else has the bus that lives in this process
	})
	machines := machine.New(machine.Config{
		Fleet: s.fleet, Hosts: hosts, Events: s.conn, Jobs: jobs, Leases: s.leases, Log: s.cfg.Log, Metrics: s.metrics,
		Origins: s.origins, Served: s.served(),
	})
	moves := migrate.New(migrate.Config{Fleet: s.fleet, Hosts: hosts, Jobs: jobs, Events: s.conn, Log: s.cfg.Log})
	imports, err := s.intake(connecting, jobs)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, k := range slices.Concat(machines.Kinds(), moves.Kinds(), imports.Kinds()) {
		jobs.Register(k)
	}
	if err := imports.Sweep(connecting); err != nil {
		return nil, nil, nil, err
	}
	api := httpapi.New(httpapi.Config{
		Fleet: s.fleet, Machines: machines, Moves: moves, Jobs: jobs, Images: s.images, Intake: imports, Origins: s.origins, Events: s.conn,
		Consoles: hosts, Relations: s.relations, Registrar: registrar{s.authority, s.bus}, Version: cli.Version(), Log: s.cfg.Log, Metrics: s.metrics,
	})
	return api, jobs, machines, nil
}

// intake brings images in; repairs and boot checks run guests on the server, with the
// driver of the hosts.
func (s *server) intake(ctx context.Context, jobs *job.Manager) (*intake.Intake, error) {
	user := guestUser(s.cfg.GuestUser, s.cfg.Data, s.cfg.Log)
	checker, err := bootcheck.New(bootcheck.Config{
		Driver: qemu.New(qemu.Config{User: user, Log: s.cfg.Log}), Dir: filepath.Join(s.cfg.Data, "checks"), Images: filepath.Join(s.cfg.Data, libraryDir), Log: s.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	checker.Sweep(ctx)
	return intake.New(intake.Config{
		Fleet: s.fleet, Library: s.images, Jobs: jobs, Events: s.conn, Log: s.cfg.Log, Checker: checker,
		Repairer: appliance.New(appliance.Config{Kernel: s.cfg.Kernel, User: user, Log: s.cfg.Log}),
	})
}

// registrar gives hosts their identities: certificates from one part, access to
// the bus from another.
type registrar struct {
	*pki.Authority
	*bus.Server
}

// listen opens the API's port and gives its URL.
func (s *server) listen() (net.Listener, string, error) {
	ln, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return nil, "", droveway.Errorf(droveway.Unavailable, "listen for the API: %w", err)
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		_ = ln.Close()
		return nil, "", droveway.Errorf(droveway.Internal, "listen for the API: %w", err)
	}
	return ln, "https://" + net.JoinHostPort(s.names[0], port), nil
}
