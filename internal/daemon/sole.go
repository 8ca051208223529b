package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/lease"
)

// A fleet has one server at a time, for addresses and room on hosts are given away
// within one process. A bus that lives in that process sees to it; servers on an
// external bus hold a lease there:
//
//	(wait) ──free, or run out──▶ held ──end──▶ released
//	  └──another renews it──▶ refused
//	                             ▲ held ──ran out, and another took it
const (
	sole    = "server"
	soleKey = sole + ".only"
	soleTTL = 6 * time.Second
	// The bus may count a little longer than its holder.
	soleSlack = 3 * time.Second
	soleAgain = 500 * time.Millisecond
)

var errFree = errors.New("the lease is free")

// beSole makes this process the fleet's server, for as long as the parts in g run. The
// function that it returns is called when they have ended.
func (s *server) beSole(g *group) (resign func() error, err error) {
	if s.cfg.NATS == "" {
		return func() error { return nil }, nil
	}
	l, err := s.takeSole(g.ctx, s.leases)
	if err != nil {
		return nil, err
	}
	hold := newGroup(context.WithoutCancel(g.ctx))
	hold.run("server", func(ctx context.Context) error { return s.keepSole(ctx, l) })
	stop := context.AfterFunc(hold.ctx, g.cancel)
	return func() error { stop(); return hold.stop() }, nil
}

// takeSole makes this process the fleet's server. One that was killed is waited for
// until its lease has run out; one that lives is Conflict.
func (s *server) takeSole(ctx context.Context, leases *lease.Leases) (*lease.Lease, error) {
	for {
		l, err := leases.Acquire(ctx, soleKey, soleName(), soleTTL)
		if !droveway.Is(err, droveway.Conflict) {
			return l, err
		}
		s.cfg.Log.Warn("another server may be at work on this bus: waiting for a sign of it", "error", err)
		if err := awaitFree(ctx, leases); !errors.Is(err, errFree) {
			return nil, err
		}
	}
}

// awaitFree is errFree once nobody holds the lease, or has had the time to renew it. A
// lease that is renewed meanwhile has a holder that lives.
func awaitFree(ctx context.Context, leases *lease.Leases) error {
	ctx, cancel := context.WithTimeoutCause(ctx, soleTTL+soleSlack, errFree)
	defer cancel()
	signs := 0
	return leases.Watch(ctx, sole, func(_, owner string, held bool) error {
		switch {
		case !held:
			return errFree
		case signs > 0:
			return droveway.Errorf(droveway.Conflict, "%s is the server of this fleet and works: a bus has one server at a time; stop that one first", owner)
		}
		signs++
		return nil
	})
}

// keepSole holds the lease until ctx ends. A lease that ran out because the bus was
// away is taken again; if another server has it by then this one has to end.
func (s *server) keepSole(ctx context.Context, l *lease.Lease) error {
	for {
		err := l.Keep(ctx)
		if err == nil {
			s.giveSole(ctx, l)
			return nil
		}
		s.cfg.Log.Warn("the bus was away for too long: being the server of the fleet is asked for again", "error", err)
		if l, err = retakeSole(ctx, s.leases); err != nil {
			return err
		}
	}
}

func (s *server) giveSole(ctx context.Context, l *lease.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), soleSlack)
	defer cancel()
	if err := l.Release(ctx); err != nil {
		s.cfg.Log.Warn("the next server will have to wait until the lease of this one runs out", "error", err)
	}
}

func retakeSole(ctx context.Context, leases *lease.Leases) (*lease.Lease, error) {
	var refused time.Time
	for {
		l, err := leases.Acquire(ctx, soleKey, soleName(), soleTTL)
		switch {
		case err == nil:
			return l, nil
		case !droveway.Is(err, droveway.Conflict):
			refused = time.Time{} // the bus is away: nobody can do harm
		case refused.IsZero():
			refused = time.Now()
		case time.Since(refused) > soleSlack:
			return nil, droveway.Errorf(droveway.Conflict, "another server took over while this one could not reach the bus: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(soleAgain):
		}
	}
}

// soleName tells people which process holds the lease.
func soleName() string {
	name, err := os.Hostname()
	if err != nil {
		name = "a host without a name"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), name)
}
