package migrate

import (
	"cmp"
	"context"
	"errors"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Memory goes over several connections at once where there is much of it, and the guest
// changes little: one connection with TLS carries what one processor can encrypt, and of
// several nothing can follow the guest, so passes have to come to an end by themselves.
const (
	parallelFrom = 8 << 10  // MiB of memory
	quiet        = 64 << 20 // bytes a second that a quiet guest changes at most

	parallelCapability = "migrate.multifd"
)

// way decides how memory is to go.
func (m *Moves) way(ctx context.Context, r *run) (hypervisor.Way, error) {
	var req Request
	if err := r.Args(&req); err != nil {
		return "", err
	}
	if several, err := m.several(ctx, r, req); several || err != nil {
		if req.Memory == compressed {
			return hypervisor.Compressed, err
		}
		return hypervisor.Parallel, err
	}
	preempt, err := m.both(ctx, r.State, "migrate.postcopy-preempt")
	if err != nil || !preempt {
		return hypervisor.Postcopy, err
	}
	return hypervisor.Preempt, nil
}

// several reports whether memory is to go over several connections.
func (m *Moves) several(ctx context.Context, r *run, req Request) (bool, error) {
	s := r.State
	asked := severalOf(req.Memory)
	if s.Endless || req.Instant || req.Memory == single || asked == "" && s.Source.MemoryMiB < parallelFrom {
		return false, nil
	}
	can, err := m.both(ctx, s, cmp.Or(asked, parallelCapability))
	if err != nil || asked == "" {
		return can && m.isQuiet(ctx, r), err
	}
	if !can {
		err = job.Permanent(droveway.Missing(asked, "hosts %s and %s cannot both send memory that way: move without --memory %s", s.From, s.To, req.Memory))
	}
	return can, err
}

// severalOf is the capability that a request for several connections needs; empty: it is
// none.
func severalOf(memory string) string {
	return map[string]string{parallel: parallelCapability, compressed: hypervisor.CompressedCapability}[memory]
}

// both reports whether both hosts have a capability.
func (m *Moves) both(ctx context.Context, s *state, capability string) (bool, error) {
	for _, name := range []string{s.From, s.To} {
		h, _, err := m.cfg.Fleet.Hosts.Get(ctx, name)
		if err != nil || h.Status.Capabilities[capability] != "yes" {
			return false, err
		}
	}
	return true, nil
}

// isQuiet measures how fast the guest changes its memory. What cannot be measured is not
// quiet.
func (m *Moves) isQuiet(ctx context.Context, r *run) bool {
	d, err := m.cfg.Hosts.Dirty(ctx, r.State.From, r.State.source())
	r.Log.Info("measured how fast the guest changes its memory", "bytes_per_second", d.Rate, "error", err)
	return err == nil && d.Rate <= quiet
}

// errEndless is why memory goes another way.
var errEndless = errors.New("it goes by one, and what is left follows")

// endless ends an attempt whose passes over memory do not end. The next one takes a way
// in which memory can follow.
func (m *Moves) endless(ctx context.Context, r *run, p hypervisor.MemoryProgress) error {
	r.State.Endless = true
	if err := r.Save(ctx); err != nil {
		return err
	}
	return droveway.Errorf(droveway.Unavailable, "passes over memory on several connections do not end: %s; %w", rates(p), errEndless)
}

// otherWay prepares both sides anew. All of it may be repeated.
func (m *Moves) otherWay(ctx context.Context, r *run) error {
	if err := m.unprepare(ctx, r); err != nil {
		return err
	}
	if err := m.discard(ctx, r); err != nil {
		return err
	}
	if err := m.reserveOn(ctx, r, false); err != nil {
		return err
	}
	return m.prepare(ctx, r)
}
