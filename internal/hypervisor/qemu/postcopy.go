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
func (i *Instance) AllowPostcopy(ctx context.Context, yes bool) error {
	return i.exclusive(ctx, "allow postcopy for", func() error {
		err := i.execute(ctx, "migrate-set-capabilities", object{
			"capabilities": []object{{"capability": "postcopy-ram", "state": yes}},
		}, nil)
		if droveway.Is(err, droveway.Conflict) {
			return droveway.Missing("postcopy", "this host cannot let memory follow: %v%s", err, i.hint())
		}
		return err
	})
}

// hint is what makes userfaultfd(2) work for guests that do not run as root.
func (i *Instance) hint() string {
	if i.h.User == "" || i.h.User == "root" {
		return ""
	}
	return ": guests run as " + i.h.User + ", so set vm.unprivileged_userfaultfd=1 with sysctl"
}

// Hurry ends the passes over memory. QEMU takes the command only once it has set
// up, during which it answers nothing.
func (i *Instance) Hurry(ctx context.Context) error {
	return i.exclusive(ctx, "hurry the move of", func() error {
		return i.until(ctx, func() (bool, error) {
			m, err := i.migration(ctx)
			if err != nil || !m.active() || m.Status == heldBack {
				return true, err
			}
			err = i.execute(ctx, "migrate-start-postcopy", nil, nil)
			if droveway.Is(err, droveway.Conflict) {
				return false, nil
			}
			return true, err
		})
	})
}
