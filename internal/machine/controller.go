package machine

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/reconcile"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
)

// Config is what a Controller needs.
type Config struct {
	Fleet   *fleet.Fleet
	Hosts   *host.Client
	Events  droveway.Publisher
	Jobs    *job.Manager // the caller registers Kinds with it and runs it
	Leases  *lease.Leases
	Origins Origins
	Served  Served // where hosts read them
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Controller makes the jobs on machines and keeps machines as they are wanted.
type Controller struct {
	cfg     Config
	metrics metrics
	queue   *reconcile.Queue
	grace   time.Duration // startGrace; tests have less of it

	// entering is held while a machine is given addresses or a host, which
	// depend on what all others have. One process is the server at a time: its
	// bus lives in it, or it holds a lease there.
	entering sync.Mutex

	seen     seen
	pushed   pushed
	restarts restarts
}

// New makes a controller; nothing runs before Run.
func New(cfg Config) *Controller {
	return &Controller{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Metrics),
		queue:    reconcile.New(cfg.Log),
		grace:    startGrace,
		seen:     seen{alive: map[string]bool{}, on: map[string]string{}},
		pushed:   pushed{to: map[string]string{}},
		restarts: restarts{of: map[string]restart{}},
	}
}

// Kinds is the kinds of job that this package runs.
func (c *Controller) Kinds() []job.Kind {
	return []job.Kind{
		job.Define(KindCreate, c.defineCreate),
		job.Define(KindStart, c.defineStart),
		job.Define(KindStop, c.defineStop),
		job.Define(KindRemove, c.defineRemove),
		job.Define(KindResize, c.defineResize),
	}
}

// The keys of the queue: what is to be looked at, and its name.
const (
	keyMachine  = "machine/"
	keyHost     = "host/"
	keyNetworks = "networks/"
)

// workers is how many objects are looked at at the same time. Most of that time
// is spent in waiting for hosts.
const workers = 8

// Run watches and acts until ctx ends or the bus is closed.
func (c *Controller) Run(ctx context.Context) error {
	if err := ensureDefaultNetwork(ctx, c.cfg.Fleet); err != nil {
		return err
	}
	c.seen.begin(c.grace)
	return together(ctx,
		c.watchMachines, c.watchHosts, c.watchNetworks, c.watchReports, c.watchLeases,
		c.announceMachines, c.announceHosts,
		func(ctx context.Context) error { return c.queue.Run(ctx, workers, c.reconcile) },
	)
}

func (c *Controller) reconcile(ctx context.Context, key string) (again time.Duration, err error) {
	kind, name, _ := strings.Cut(key, "/")
	switch kind + "/" {
	case keyHost:
		return c.reconcileHost(ctx, name)
	case keyNetworks:
		return 0, c.reconcileNetworks(ctx, name)
	default:
		return c.reconcileMachine(ctx, name)
	}
}

// together runs functions until all have ended; the first error ends the others
// and is returned.
func together(ctx context.Context, fns ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, fn := range fns {
		all.Go(func() {
			if err := fn(ctx); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
