package job

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/store"
)

const (
	defaultLeaseTTL = 5 * time.Second

	// keepEnded is how many jobs that have ended are kept to be looked at.
	keepEnded = 1000

	// watchAgain is the wait before a watch that broke off is begun anew.
	watchAgain = time.Second
)

// ManagerConfig says how a Manager is to be.
type ManagerConfig struct {
	Jobs    jetstream.KeyValue // the bucket of jobs
	Leases  *lease.Leases
	Owner   string                                      // of the leases; a name of this process
	Publish func(context.Context, droveway.Event) error // nil: no events
	Log     *slog.Logger                                // keys job, step
	Metrics prometheus.Registerer                       // nil: none
	// LeaseTTL bounds how long a killed Manager's jobs stand still; 0: 5 s.
	LeaseTTL time.Duration
	// Sole says that no other Manager can be alive, because the bus lives in
	// this process: leases that a killed one left are taken over at once.
	Sole bool
}

// Manager runs jobs. Several Managers may share a bucket: a job is run by one of
// them at a time.
type Manager struct {
	cfg     ManagerConfig
	table   store.Table[Record]
	metrics *metrics

	mu      sync.Mutex
	kinds   map[string]Kind
	running map[string]*asked // also those left alone, so that they are not taken again
	ended   history
	nudged  chan struct{} // closed, and another made, by Nudge
}

// asked is how a running job hears of a cancel.
type asked struct {
	ch   chan int // of one: the latest number that was not heard yet
	last int
}

// ask tells of a cancel, once. The caller holds the Manager's mu.
func (a *asked) ask(number int) {
	if number <= a.last {
		return
	}
	a.last = number
	select {
	case <-a.ch:
	default:
	}
	a.ch <- number
}

// NewManager makes a Manager.
func NewManager(cfg ManagerConfig) *Manager {
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = defaultLeaseTTL
	}
	return &Manager{
		cfg:     cfg,
		table:   store.NewTable[Record](cfg.Jobs, "job"),
		metrics: newMetrics(cfg.Metrics),
		kinds:   map[string]Kind{},
		running: map[string]*asked{},
		ended:   history{at: map[string]time.Time{}},
		nudged:  make(chan struct{}),
	}
}

// Register makes a kind of job known. It is called before Run.
func (m *Manager) Register(k Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kinds[k.Name()] = k
}

// Nudge has the jobs that are stuck try again soon: something has changed that they may
// have waited for, a host is back perhaps.
func (m *Manager) Nudge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.nudged)
	m.nudged = make(chan struct{})
}

// Changes gives what the next Nudge closes.
func (m *Manager) Changes() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nudged
}

func (m *Manager) kind(name string) (Kind, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.kinds[name]
	if k == nil {
		return nil, droveway.Errorf(droveway.Unsupported, "this version knows no jobs of kind %q", name)
	}
	return k, nil
}

// Run runs the jobs, first those that have not ended, until ctx ends. A job that
// is under way then is interrupted; its record stays as it is, and the next Run,
// here or elsewhere, takes it up.
func (m *Manager) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		err := m.table.Watch(ctx, func(c store.Change[Record]) error {
			m.see(ctx, c, &all)
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		m.cfg.Log.Warn("the watch of the jobs broke off and is begun anew", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
	}
}

// see takes note of one change in the table of jobs.
func (m *Manager) see(ctx context.Context, c store.Change[Record], all *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case c.Synced:
		m.ended.complete = true
	case c.Deleted:
		delete(m.ended.at, c.Name)
	case c.Value.Job.State.Ended():
		m.ended.at[c.Name] = c.Value.Job.Ended
	default:
		m.take(ctx, c, all)
	}
	for _, name := range m.ended.surplus(keepEnded) {
		all.Go(func() { m.forget(ctx, name) })
	}
}

// take begins to run a job that is not run here yet, and passes a cancel on to
// one that is. The caller holds mu.
func (m *Manager) take(ctx context.Context, c store.Change[Record], all *sync.WaitGroup) {
	a := m.running[c.Name]
	if a == nil {
		a = &asked{ch: make(chan int, 1)}
		m.running[c.Name] = a
		all.Go(func() {
			if m.own(ctx, c.Name, a.ch) {
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(m.running, c.Name)
			}
		})
	}
	if c.Value.Job.Cancel {
		a.ask(c.Value.Cancels)
	}
}

func (m *Manager) forget(ctx context.Context, name string) {
	err := m.table.Delete(ctx, name)
	if err != nil && !droveway.Is(err, droveway.NotFound) && ctx.Err() == nil {
		m.cfg.Log.Warn("an old job was not deleted", "job", name, "error", err)
	}
}

// history is when jobs ended.
type history struct {
	at       map[string]time.Time
	complete bool // all jobs were seen; before, nothing may be called surplus
}

// surplus takes out, oldest first, what is more than keep.
func (h *history) surplus(keep int) []string {
	if !h.complete {
		return nil
	}
	var names []string
	for len(h.at) > keep {
		oldest := ""
		for name, t := range h.at {
			if oldest == "" || t.Before(h.at[oldest]) {
				oldest = name
			}
		}
		delete(h.at, oldest)
		names = append(names, oldest)
	}
	return names
}
