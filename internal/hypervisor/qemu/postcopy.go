package qemu

import (
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

var _ hypervisor.PostCopier = (*Instance)(nil)

// following reports whether the guest runs on the other side already, and memory
// still follows.
func (m migration) following() bool {
	return m.Status == "postcopy-active" || m.severed()
}

// severed reports whether memory that should follow cannot: the connection is
// lost, or the other side is.
func (m migration) severed() bool {
	return m.Status == "postcopy-paused" || m.Status == "postcopy-recover"
}

// AllowPostcopy prepares the instance. QEMU refuses on a host without
// userfaultfd(2).
func (i *Instance) AllowPostcopy(ctx context.Context, how hypervisor.Postcopy) error {
	return i.exclusive(ctx, "allow postcopy for", func() error {
		want := map[string]bool{"postcopy-ram": how != hypervisor.NoPostcopy, preempting: how == hypervisor.Preempt}
		err := i.switchCapabilities(ctx, want)
		if droveway.Is(err, droveway.Conflict) {
			return droveway.Missing("postcopy", "this host cannot let memory follow: %v%s", err, i.hint())
		}
		return err
	})
}

// preempting is the capability that gives pages that the guest waits for a
// connection of their own.
const preempting = "postcopy-preempt"

// switchCapabilities switches those that are not as they should be.
func (i *Instance) switchCapabilities(ctx context.Context, want map[string]bool) error {
	var all []struct {
		Capability string
		State      bool
	}
	if err := i.execute(ctx, "query-migrate-capabilities", nil, &all); err != nil {
		return err
	}
	var change []object
	for _, c := range all {
		if on, ok := want[c.Capability]; ok && on != c.State {
			change = append(change, object{"capability": c.Capability, "state": on})
		}
		delete(want, c.Capability)
	}
	for name, on := range want {
		if on {
			return droveway.Errorf(droveway.Conflict, "this QEMU has no %s", name)
		}
	}
	if len(change) == 0 {
		return nil
	}
	return i.execute(ctx, "migrate-set-capabilities", object{"capabilities": change}, nil)
}

// hint is what makes userfaultfd(2) work for guests that do not run as root.
func (i *Instance) hint() string {
	if i.h.User == "" || i.h.User == "root" {
		return ""
	}
	return ": guests run as " + i.h.User + ", so set vm.unprivileged_userfaultfd=1 with sysctl"
}

// Hurry ends the passes over memory, once QEMU has set up: it would take the command
// before, and do nothing about it meanwhile.
func (i *Instance) Hurry(ctx context.Context) error {
	return i.exclusive(ctx, "hurry the move of", func() error {
		return i.until(ctx, func() (bool, error) {
			m, err := i.migration(ctx)
			if err != nil || !m.active() || m.Status == heldBack {
				return true, err
			}
			if m.Status == "setup" {
				return false, nil
			}
			err = i.execute(ctx, "migrate-start-postcopy", nil, nil)
			if droveway.Is(err, droveway.Conflict) {
				return false, nil
			}
			return true, err
		})
	})
}
