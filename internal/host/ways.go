package host

import (
	"context"
	"fmt"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// prepareMemory prepares an instance for a way of its memory, or for the plain one
// where its driver or this host cannot have that, and returns which it is.
func (a *Agent) prepareMemory(ctx context.Context, m *machine, w hypervisor.Way) (hypervisor.Way, error) {
	mm, ok := m.instance().(hypervisor.MemoryMover)
	if !ok {
		return hypervisor.Precopy, nil
	}
	err := mm.PrepareMemory(ctx, w)
	if droveway.Is(err, droveway.Unsupported) && w != hypervisor.Precopy {
		a.cfg.Log.Info("memory cannot go as it was wanted", "machine", m.name, "way", w, "error", err)
		return hypervisor.Precopy, mm.PrepareMemory(ctx, hypervisor.Precopy)
	}
	return w, err
}

// dirtyRate measures how fast the guest changes its memory.
func (a *Agent) dirtyRate(ctx context.Context, m *machine, _ Ref, _ *task) (Dirty, error) {
	if err := m.must(verbDirty, RoleHome); err != nil {
		return Dirty{}, err
	}
	mm, ok := m.instance().(hypervisor.MemoryMover)
	if !ok {
		return Dirty{}, droveway.Missing("memory", "machine %s: its driver does not tell how fast memory changes", m.name)
	}
	rate, err := mm.DirtyRate(ctx)
	if err != nil {
		return Dirty{}, fmt.Errorf("measure the memory of machine %s: %w", m.name, err)
	}
	return Dirty{Rate: rate}, nil
}

// hurry lets the guest go as soon as it can; the rest of its memory follows.
func (a *Agent) hurry(ctx context.Context, m *machine, _ Ref, _ *task) (none struct{}, err error) {
	if err := m.must(verbHurry, RoleLeaving); err != nil {
		return none, err
	}
	pc, ok := m.instance().(hypervisor.MemoryMover)
	if !ok {
		return none, droveway.Missing("postcopy", "machine %s: its driver cannot let memory follow", m.name)
	}
	if err := pc.Hurry(ctx); err != nil {
		return none, fmt.Errorf("hurry machine %s: %w", m.name, err)
	}
	return none, nil
}
