package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/conntrack"
	"github.com/droveway/droveway/internal/discover/probe/emit"
	"github.com/droveway/droveway/internal/discover/probe/kernel"
	"github.com/droveway/droveway/internal/discover/probe/netns"
	"github.com/droveway/droveway/internal/discover/probe/pidns"
	"github.com/droveway/droveway/internal/discover/probe/procfs"
	"github.com/droveway/droveway/internal/discover/probe/spool"
)

// Config is what a probe needs.
type Config struct {
	Host   string // as the server knows it
	Dir    string // for the spool
	Sender Sender
	Log    *slog.Logger

	Source     string        // the one to use; empty: the best that works
	Interval   time.Duration // between reports; 2 s
	Survey     time.Duration // between looks at everything; 30 s
	SpoolBytes int64         // on disk; 64 MiB

	Ahead time.Duration // in trials: report as if the host's clock were so far ahead

	Own      bool          // watch the network namespace that the probe is in, and no other
	Patterns bool          // may connections of patterns be opened
	OptOut   []emit.Target // never toward these
}

// Defaults.
const (
	interval   = 2 * time.Second
	survey     = 30 * time.Second
	pollSurvey = 2 * time.Second // where surveys are all there is
	newcomers  = 5 * time.Second // until new network namespaces are followed
	hasty      = 2 * time.Second // between surveys for missing processes
	spoolBytes = 64 << 20
	procRoot   = "/proc"

	farewellTime = 2 * time.Second
)

// Probe is a probe. Make it with New.
type Probe struct {
	config    Config
	log       *slog.Logger
	spool     *spool.Spool
	ledger    *ledger
	directory *directory
	batch     *batch
	emitter   *emit.Emitter
	surveyor  *surveyor
	boxes     *conntrack.Watcher
	scope     *scope
	only      uint32 // network namespace; 0: all
	ready     chan struct{}

	mu     sync.Mutex
	choice Choice
}

// New prepares a probe: it opens the spool, and nothing in the kernel.
func New(c Config) (*Probe, error) {
	if c.Host == "" || c.Dir == "" || c.Sender == nil || c.Log == nil {
		return nil, droveway.Errorf(droveway.Invalid, "a probe needs a host, a directory, a sender and a log")
	}
	c.Interval, c.SpoolBytes = or(c.Interval, interval), or(c.SpoolBytes, spoolBytes)
	s, err := spool.Open(filepath.Join(c.Dir, "reports"), c.SpoolBytes)
	if err != nil {
		return nil, err
	}
	proc := procfs.New(procRoot)
	p := &Probe{config: c, log: c.Log.With("host", c.Host), spool: s, ready: make(chan struct{})}
	if c.Own {
		if p.only, err = netns.Of(procRoot, os.Getpid()); err != nil {
			return nil, err
		}
	}
	p.ledger, p.directory = newLedger(newServices()), newDirectory(proc)
	p.batch = &batch{host: c.Host, probe: rand.Text(), source: func() string { return procfs.Text(p.Choice().String()) }, ledger: p.ledger, directory: p.directory, clock: clock(c.Ahead)}
	p.surveyor = &surveyor{proc: proc, ledger: p.ledger, directory: p.directory, only: p.only, log: p.log, found: p.batch.locate, told: map[string]bool{}}
	p.boxes = conntrack.New(procRoot, p.batch.translate)
	p.scope = newScope(whole(procRoot))
	p.emitter = emit.New(emit.Config{
		Proc: procRoot, Allow: c.Patterns, OptOut: c.OptOut, Log: p.log,
		Contacted: p.ledger.contacted, Claim: p.ledger.claim, Emitted: p.batch.emit,
	})
	return p, nil
}

// whole reports whether the processes of the whole machine can be seen. Where
// that cannot be told, no source tells of others than those in proc.
func whole(proc string) bool {
	numbers, err := pidns.Of(proc)
	return err != nil || numbers.Initial()
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Choice says which source is in use, and why better ones are not.
func (p *Probe) Choice() Choice {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.choice
}

// Ready is closed when the probe sees connections.
func (p *Probe) Ready() <-chan struct{} { return p.ready }

// Assign takes a pattern to emit. The error says why this host does not: see
// emit.Emitter.
func (p *Probe) Assign(a discover.Assignment) error {
	return p.emitter.Assign(clock(p.config.Ahead).obey(a))
}

// Cancel calls a pattern off, at once.
func (p *Probe) Cancel(pattern string) { p.emitter.Cancel(pattern) }

// Run watches and reports until ctx ends. What could not be sent by then waits in
// the spool for the next start. A source that fails is replaced by the next best.
func (p *Probe) Run(ctx context.Context) error {
	var g group
	ctx = g.begin(ctx)
	defer g.stop()
	g.run(func() error { return p.directory.run(ctx) })
	g.run(func() error { return p.emitter.Run(ctx) })
	g.run(func() error { return p.outbox().run(ctx) })
	g.run(func() error { return p.watch(ctx) })
	err := g.wait()
	err = errors.Join(err, p.boxes.Close(), p.report(time.Now()))
	p.farewell(context.WithoutCancel(ctx))
	return err
}

// farewell tries to send what is left. What the server does not take waits on
// disk.
func (p *Probe) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewellTime)
	defer cancel()
	if err := p.outbox().flush(ctx); err != nil {
		p.log.Info("reports wait on disk for the next start", "error", err)
	}
}

func (p *Probe) outbox() *outbox {
	return &outbox{spool: p.spool, sender: p.config.Sender, log: p.log}
}

// watch uses one source after the other, as they fail.
func (p *Probe) watch(ctx context.Context) error {
	if !p.scope.all {
		p.log.Info("the probe is in a PID namespace of its own: it does not know the processes outside, nor their network namespaces")
	}
	p.openWalker()
	defer p.closeWalker()
	failed := map[string]string{}
	for ctx.Err() == nil {
		source, choice, err := choose(p.config.Source, procRoot, failed)
		if err != nil {
			return err
		}
		p.chosen(choice)
		err = p.use(ctx, source)
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.log.Error("a source of connections failed", "source", choice.Source, "error", err)
		failed[choice.Source] = err.Error()
	}
	return nil
}

func (p *Probe) openWalker() {
	if p.config.Source == SourcePoll {
		return
	}
	w, err := kernel.NewWalker()
	if err != nil {
		p.log.Warn("connections that are open already have no sequence numbers", "error", err)
		p.mu.Lock()
		p.choice.Walker = err.Error()
		p.mu.Unlock()
		return
	}
	p.surveyor.walker = w
}

func (p *Probe) closeWalker() {
	if w := p.surveyor.walker; w != nil {
		if err := w.Close(); err != nil {
			p.log.Warn("unload the walk through sockets", "error", err)
		}
	}
}

func (p *Probe) chosen(c Choice) {
	p.mu.Lock()
	c.Walker = p.choice.Walker
	p.choice = c
	p.mu.Unlock()
	p.log.Info("source of connections", "source", c.Source)
	for _, name := range Sources() {
		if why := c.Better[name]; why != "" && p.config.Source == "" {
			p.log.Warn("a better source of connections does not work here", "source", name, "why", why)
		}
	}
}

// use runs one source with the work that goes with it.
func (p *Probe) use(ctx context.Context, source capture.Source) error {
	var g group
	ctx = g.begin(ctx)
	defer g.stop()
	g.run(func() error { return source.Run(ctx, p.deliver) })
	losses := &tally{of: []interface{ Lost() uint64 }{source, p.boxes}, told: p.boxes.Lost()}
	g.run(func() error { return p.work(ctx, source, losses) })
	err := g.wait()
	p.batch.lose(losses.more())
	if cerr := source.Close(); cerr != nil {
		p.log.Warn("close a source of connections", "error", cerr)
	}
	return err
}

// deliver takes an event. Processes are looked at at once: they may be gone soon.
func (p *Probe) deliver(e capture.Event) {
	if p.only != 0 && e.Key.Namespace != p.only {
		return
	}
	if !p.scope.has(e) {
		return
	}
	p.directory.meet(e.PID, e.Name, e.Time)
	if e.Kind != capture.Started {
		p.ledger.take(e)
	}
}

// report puts everything there is to say into the spool.
func (p *Probe) report(now time.Time) error {
	p.batch.lose(p.spool.TakeLost())
	for {
		r, more, err := p.batch.next(now)
		if err != nil || !more {
			return err
		}
		if err := p.spool.Put(r.json, r.events); err != nil {
			p.batch.lose(uint64(r.events))
			return fmt.Errorf("keep a report: %w", err)
		}
	}
}
