package qemu

import (
	"cmp"
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

var _ hypervisor.MemoryMover = (*Instance)(nil)

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

// QEMU's names for the ways, as capabilities of a migration. It refuses postcopy on a
// host without userfaultfd(2), and in 7.2 takes it together with multifd, though that
// cannot work.
const (
	following  = "postcopy-ram"
	preempting = "postcopy-preempt"
	parallel   = "multifd"
)

// connections of a parallel way. One with TLS keeps one processor busy on each side.
const connections = 4

// compression is that of what goes over several connections. QEMU's other one, zlib, is
// slower than links are.
const compression = "zstd"

// PrepareMemory prepares the instance.
func (i *Instance) PrepareMemory(ctx context.Context, w hypervisor.Way) error {
	return i.exclusive(ctx, "prepare the memory of", func() error {
		want := map[string]bool{following: w.Follows(), preempting: w == hypervisor.Preempt, parallel: w.Several()}
		err := i.switchCapabilities(ctx, want)
		if droveway.Is(err, droveway.Conflict) {
			return cannotGo(w, err, i.hint())
		}
		if err != nil || !w.Several() {
			return err
		}
		how := map[hypervisor.Way]string{hypervisor.Parallel: "none", hypervisor.Compressed: compression}[w]
		err = i.execute(ctx, "migrate-set-parameters", object{"multifd-channels": connections, "multifd-compression": how}, nil)
		if droveway.Is(err, droveway.Conflict) {
			err = cannotGo(w, err, "")
		}
		return err
	})
}

// dirtyTime is how long a dirty rate is measured, in seconds.
const dirtyTime = 1

// DirtyRate has QEMU compare samples of the memory.
func (i *Instance) DirtyRate(ctx context.Context) (rate int64, err error) {
	err = i.exclusive(ctx, "measure the memory of", func() error {
		if err := i.execute(ctx, "calc-dirty-rate", object{"calc-time": dirtyTime}, nil); err != nil {
			return err
		}
		var d struct {
			Status string `json:"status"`
			Rate   int64  `json:"dirty-rate"` // MiB a second
		}
		err := i.until(ctx, func() (bool, error) {
			err := i.execute(ctx, "query-dirty-rate", nil, &d)
			return d.Status != "measuring", err
		})
		rate = d.Rate << 20
		return err
	})
	return rate, err
}

// cannotGo names the way, which is empty for the plain one.
func cannotGo(w hypervisor.Way, why error, hint string) error {
	return droveway.Missing("memory", "memory cannot go by %s on this host: %v%s", cmp.Or(w, "precopy"), why, hint)
}

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
