package host

import (
	"context"
	"fmt"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// allowPostcopy prepares an instance for memory that follows, where its driver
// and this host can, or for memory that does not.
func (a *Agent) allowPostcopy(ctx context.Context, m *machine, how hypervisor.Postcopy) (bool, error) {
	pc, ok := m.instance().(hypervisor.PostCopier)
	if !ok {
		return false, nil
	}
	err := pc.AllowPostcopy(ctx, how)
	if droveway.Is(err, droveway.Unsupported) {
		a.cfg.Log.Info("memory cannot follow after a switchover here", "machine", m.name, "error", err)
		return false, nil
	}
	return err == nil, err
}

// follows is how memory may follow, if it may.
func follows(may, preempt bool) hypervisor.Postcopy {
	switch {
	case !may:
		return hypervisor.NoPostcopy
	case preempt:
		return hypervisor.Preempt
	}
	return hypervisor.PlainPostcopy
}

// hurry lets the guest go as soon as it can; the rest of its memory follows.
func (a *Agent) hurry(ctx context.Context, m *machine, _ Ref, _ *task) (none struct{}, err error) {
	if err := m.must(verbHurry, RoleLeaving); err != nil {
		return none, err
	}
	pc, ok := m.instance().(hypervisor.PostCopier)
	if !ok {
		return none, droveway.Missing("postcopy", "machine %s: its driver cannot let memory follow", m.name)
	}
	if err := pc.Hurry(ctx); err != nil {
		return none, fmt.Errorf("hurry machine %s: %w", m.name, err)
	}
	return none, nil
}
