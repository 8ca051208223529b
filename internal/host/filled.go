package host

import (
	"context"
	"net"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// filled says where a disk gets the bytes from that it lacks; nil: it has all. What
// it has stands in its file, so that nothing is lost with whoever filled it.
func (a *Agent) filled(machine string, d Disk) (*hypervisor.Origin, error) {
	whole, err := a.pool.Whole(droveway.VolumeName(machine, d.Name))
	if err != nil || whole {
		return nil, err
	}
	o := d.Origin
	if o == nil {
		return nil, droveway.Errorf(droveway.Conflict, "disk %s of machine %s is not whole, and nobody says where the rest of it is: remove the machine", d.Name, machine)
	}
	return &hypervisor.Origin{Disk: d.Name, Address: net.JoinHostPort(a.cfg.Server, o.Port), Export: o.Name, Peer: o.Peer, Rate: o.Rate}, nil
}

// lacking gives the disks of an instance that are not whole.
func (a *Agent) lacking(i *Instance) ([]string, error) {
	var all []string
	for _, d := range i.Disks {
		if d.Origin == nil {
			continue
		}
		whole, err := a.pool.Whole(droveway.VolumeName(i.Machine, d.Name))
		if err != nil {
			return nil, err
		}
		if !whole {
			all = append(all, d.Name)
		}
	}
	return all, nil
}

// mustBeWhole refuses what needs all bytes of a machine's disks.
func (a *Agent) mustBeWhole(m *machine) error {
	lacks, err := a.lacking(&m.rec.Instance)
	if err == nil && len(lacks) > 0 {
		err = droveway.Errorf(droveway.Conflict, "machine %s is still filled from the source of its image (disks %v): wait until it is whole", m.name, lacks)
	}
	return err
}

// whole lets disks leave their origin that have all their bytes by now. Nobody else
// has to agree: an origin is only read, and there is no second copy to compare. A
// guest that is paused was held still for it by an agent that died. It reports whether
// it has to be tried again, which is not at once: each try holds the guest still, and
// its events would call for the next.
func (a *Agent) whole(ctx context.Context, m *machine, mv hypervisor.Mover, s hypervisor.State, h hypervisor.Hydration, w *diskWait) (again bool) {
	rec := m.record()
	held := s == hypervisor.Running || s == hypervisor.Paused
	if rec.Role != RoleHome || !rec.Instance.filled() || !held || !h.Ready || h.Settled {
		return false
	}
	if time.Since(w.settled) < nudgeEvery {
		return true
	}
	w.settled = time.Now()
	if err := mv.Settle(ctx, func(context.Context) error { return nil }); err != nil {
		a.cfg.Log.Warn("the disks do not leave their origin yet", "machine", m.name, "error", err)
		return true
	}
	a.cfg.Log.Info("the disks are whole", "machine", m.name)
	return false
}

// filled reports whether any disk has an origin.
func (i *Instance) filled() bool {
	for _, d := range i.Disks {
		if d.Origin != nil {
			return true
		}
	}
	return false
}
