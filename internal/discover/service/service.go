package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/allot"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/fleet"
)

// Config is what the service stands on.
type Config struct {
	Conn  *bus.Conn
	Fleet *fleet.Fleet
	Log   *slog.Logger
}

// Service keeps the graph. Its methods may be called at the same time.
type Service struct {
	conn     *bus.Conn
	log      *slog.Logger
	probes   store.Table[fleet.Probe]
	policies store.Table[Policy]
	groups   store.Table[Group]
	jobs     store.Table[job.Record]
	archive  *archive
	sending  sync.WaitGroup // orders
	policing sync.Mutex     // held while the policy is changed

	mu       sync.Mutex
	sites    map[string]string // of the probes that are known
	joiner   *discover.Joiner
	graph    *graph.Graph
	allotter *allot.Allotter
	passive  map[target]time.Time // do not emit; asked again from then
	waiting  map[target]time.Time // nothing explains them, since then
	cancels  []allot.Cancel       // to send
}

// target is where a host was told to emit a pattern.
type target struct {
	host        string
	destination netip.AddrPort
}

// New makes a service that knows nothing yet.
func New(c Config) (*Service, error) {
	s := &Service{
		conn: c.Conn, log: c.Log,
		probes:   c.Fleet.Probes,
		policies: store.NewTable[Policy](c.Fleet.Stores.Objects, "relation-policy"),
		groups:   store.NewTable[Group](c.Fleet.Stores.Objects, "application"),
		jobs:     store.NewTable[job.Record](c.Fleet.Stores.Jobs, "job"),
		archive:  newArchive(c.Fleet.Stores.Relations),
		sites:    map[string]string{},
		joiner:   discover.New(discover.Limits{}),
		passive:  map[target]time.Time{},
	}
	s.graph = graph.New(graph.Config{Site: func(host string) string { return s.sites[host] }})
	var err error
	s.allotter, err = allot.New(allot.Policy{}, rand.Uint32)
	return s, err
}

// How often what is done.
const (
	tickEvery    = time.Second
	advanceEvery = 2 * time.Second
	offerEvery   = 10 * time.Second
	ageEvery     = 30 * time.Second
	keepEvery    = 5 * time.Second

	keepTime = 30 * time.Second // of the last write, at the end
)

// Run restores the graph and keeps it until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.restore(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("restore the relations: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	taken := make(chan error, 1)
	go func() {
		defer cancel() // without reports nothing is worth going on
		taken <- s.conn.Reports(ctx, func(host string, report []byte) error { return s.take(ctx, host, report, time.Now()) })
	}()
	// Writes are synced to disk, so many of them take long: they hold up nothing.
	var keeping sync.WaitGroup
	keeping.Go(func() { s.keepOn(ctx) })
	s.tick(ctx)
	keeping.Wait()
	s.sending.Wait()
	err := <-taken
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer stop()
	return errors.Join(err, s.keep(last, time.Now(), true))
}

func (s *Service) restore(ctx context.Context) error {
	edges, results, err := s.archive.read(ctx)
	if err != nil {
		return err
	}
	policy, err := s.Policy(ctx)
	if err != nil {
		return err
	}
	groups, err := s.groups.List(ctx)
	if err != nil {
		return err
	}
	if err := s.learnProbes(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.graph.Restore(edges)
	s.allotter.Restore(results, time.Now())
	for _, g := range groups {
		if err := s.graph.SetGroup(g.Name, g.Hosts); err != nil {
			return err
		}
	}
	s.log.Info("relations restored", "edges", len(edges), "patterns", len(results))
	return s.usePolicy(policy, time.Now())
}

// take takes the report of a probe.
func (s *Service) take(ctx context.Context, host string, b []byte, now time.Time) error {
	r, err := discover.Decode(host, b)
	if err != nil {
		s.log.Warn("a report is refused", "host", host, "error", err)
		return err
	}
	if err := s.admit(ctx, host); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(s.joiner.Add(r, now))
	s.cancels = append(s.cancels, s.allotter.Emitted(host, r.Emitted, now)...)
	return nil
}

// admit refuses the reports of a probe that was removed.
func (s *Service) admit(ctx context.Context, host string) error {
	s.mu.Lock()
	_, known := s.sites[host]
	s.mu.Unlock()
	if known {
		return nil
	}
	p, _, err := s.probes.Get(ctx, host)
	if droveway.Is(err, droveway.NotFound) {
		return droveway.Errorf(droveway.Permission, "the probe of %s was removed from the fleet: let it join again", host)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sites[host] = p.Site
	return nil
}

func (s *Service) learnProbes(ctx context.Context) error {
	all, err := s.probes.List(ctx)
	if err != nil {
		return err
	}
	sites := map[string]string{}
	for _, p := range all {
		sites[p.Name] = p.Site
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sites = sites
	return nil
}

func (s *Service) apply(found []discover.Finding) {
	for _, f := range found {
		s.graph.Apply(f)
	}
}

// tick does what time asks for, until ctx ends.
func (s *Service) tick(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	var advanced, offered, aged time.Time
	due := func(last *time.Time, now time.Time, every time.Duration) bool {
		if now.Sub(*last) < every {
			return false
		}
		*last = now
		return true
	}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if due(&advanced, now, advanceEvery) {
				s.advance(now)
			}
			if due(&offered, now, offerEvery) {
				s.offer(now)
				s.note(ctx, s.learnProbes(ctx))
			}
			if due(&aged, now, ageEvery) {
				s.age(now)
			}
			s.order(ctx, now)
		}
	}
}

// note logs what failed and is tried again at the next tick.
func (s *Service) note(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.Warn("relations are not kept up to date; trying on", "error", err)
	}
}

func (s *Service) advance(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(s.joiner.Advance(now))
	for _, o := range s.joiner.Outcomes() {
		s.allotter.Outcome(o, now)
	}
}

// age lets edges get old.
func (s *Service) age(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch()
	s.graph.Advance(now)
	s.allotter.Advance(now)
}

// watch tells the graph how well each host is watched.
func (s *Service) watch() {
	for host := range s.sites {
		if c, ok := s.joiner.Coverage(host); ok {
			s.graph.Watch(c)
		}
	}
}

// keepOn writes what has changed, again and again, until ctx ends.
func (s *Service) keepOn(ctx context.Context) {
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.note(ctx, s.keep(ctx, now, false))
		}
	}
}

// keep writes what has changed, and is due or all of it, a batch at a time.
func (s *Service) keep(ctx context.Context, now time.Time, all bool) error {
	for more := true; more; {
		more = s.gather(now, all)
		if err := s.archive.write(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// gather hands the archive the next batch, and reports whether there may be more. What
// could not be written before comes first.
func (s *Service) gather(now time.Time, all bool) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.archive
	due := func(e *graph.Edge) bool { return all || a.due(e, now) }
	a.pending = append(a.pending, s.graph.Changes(batch-len(a.pending), due)...)
	if results, changed := s.allotter.Results(); changed {
		a.noteResults(results)
	}
	return len(a.pending) == batch
}
