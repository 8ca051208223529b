// Package emit opens and closes connections in a pattern, so that whoever sees
// them at the other end can tell who opened them.
//
// It opens TCP connections without a byte in them, from the network namespace of
// a process that talks to the destination anyway, within limits that the server
// cannot change.
package emit

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

// Config is what an emitter needs.
type Config struct {
	Proc   string // where proc is mounted
	Allow  bool   // patterns are opt-in
	OptOut []Target

	// Contacted reports whether the host talks to a destination anyway.
	Contacted func(netip.AddrPort) bool
	// Claim says that a connection about to be opened is of a pattern.
	Claim func(Claim)
	// Emitted takes a connection as it really happened. The claim is zero if it
	// did not come so far.
	Emitted func(discover.Emission, Claim)
	Log     *slog.Logger
}

// Claim names a connection before it has a source address.
type Claim struct {
	Namespace uint32 // network namespace
	Port      uint16 // local
	To        netip.AddrPort
}

// Emitter carries out assignments.
type Emitter struct {
	config  Config
	pending chan discover.Assignment

	mu   sync.Mutex
	busy map[netip.AddrPort]string // pattern
	off  map[string]chan struct{}  // by pattern: closed when it is called off
}

// New makes an emitter. Nothing is opened before Run.
func New(c Config) *Emitter {
	return &Emitter{config: c, pending: make(chan discover.Assignment, maxPatterns), busy: map[netip.AddrPort]string{}, off: map[string]chan struct{}{}}
}

// Assign takes an assignment, or says why not: Permission if this host does not
// do that, Invalid if it makes no sense, Conflict while another pattern goes to
// the same destination, Unavailable while there are too many.
func (e *Emitter) Assign(a discover.Assignment) error {
	a.Destination = netip.AddrPortFrom(a.Destination.Addr().Unmap(), a.Destination.Port())
	err := e.accept(a)
	log := e.config.Log.With("pattern", a.Pattern, "destination", a.Destination.String(), "pid", a.PID)
	if err != nil {
		log.Info("pattern refused", "why", err.Error())
		return err
	}
	log.Info("pattern accepted", "start", a.Start, "connections", len(a.Delays))
	return nil
}

func (e *Emitter) accept(a discover.Assignment) error {
	if err := e.refuse(a, time.Now()); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if other, busy := e.busy[a.Destination]; busy {
		return droveway.Errorf(droveway.Conflict, "pattern %q: pattern %q goes to %s at this time", a.Pattern, other, a.Destination)
	}
	if len(e.busy) >= maxPatterns {
		return droveway.Errorf(droveway.Unavailable, "pattern %q: %d patterns are under way: try again later", a.Pattern, len(e.busy))
	}
	e.busy[a.Destination] = a.Pattern
	e.off[a.Pattern] = make(chan struct{})
	e.pending <- a // has room for as many as may be busy
	return nil
}

// Run carries out what Assign took until ctx ends; then connections that are open
// are closed at once and nothing more is opened.
func (e *Emitter) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-e.pending:
			running.Go(func() {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				defer e.free(a)
				running.Go(func() { e.obey(ctx, cancel, a.Pattern) })
				e.pattern(ctx, a)
			})
		}
	}
}

func (e *Emitter) free(a discover.Assignment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.busy, a.Destination)
	delete(e.off, a.Pattern)
}

// Cancel calls a pattern off: its connection that is open is closed at once, and
// no more are opened. One that is over, or never was, is left alone.
func (e *Emitter) Cancel(pattern string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if off, ok := e.off[pattern]; ok {
		close(off)
		delete(e.off, pattern)
	}
}

// obey ends a pattern when it is called off.
func (e *Emitter) obey(ctx context.Context, cancel context.CancelFunc, pattern string) {
	e.mu.Lock()
	off, ok := e.off[pattern]
	e.mu.Unlock()
	if !ok {
		cancel()
		return
	}
	select {
	case <-ctx.Done():
	case <-off:
		cancel()
	}
}

// pattern emits one pattern: one connection after the other. It stops at the
// first that is refused or not answered.
func (e *Emitter) pattern(ctx context.Context, a discover.Assignment) {
	log := e.config.Log.With("pattern", a.Pattern, "destination", a.Destination.String(), "pid", a.PID)
	var last time.Time
	var late time.Duration
	for i, delay := range a.Delays {
		// Who is late does not catch up: the seconds in which it would are those of
		// others at the same endpoint.
		late = max(late, time.Since(a.Start.Add(delay)))
		at := a.Start.Add(delay + late)
		if soonest := last.Add(minGap); at.Before(soonest) {
			at = soonest // the one before took its time
		}
		if !sleep(ctx, time.Until(at)) {
			log.Info("pattern stopped", "after", i, "why", "it was called off, or the probe ends")
			return
		}
		if !time.Now().Before(a.Expires) {
			log.Info("pattern stopped", "after", i, "why", "it has expired")
			return
		}
		last = time.Now()
		s := shot{emitter: e, assignment: a, index: i}
		done := s.fire(ctx)
		e.config.Emitted(done, s.claim)
		log.Info("pattern connection", "index", i, "opened", done.Opened, "closed", done.Closed, "error", done.Error)
		if done.Error != "" {
			log.Info("pattern stopped", "after", i+1, "why", done.Error)
			return
		}
	}
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
