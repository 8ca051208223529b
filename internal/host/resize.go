package host

import (
	"context"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// resize makes disks larger, in use or not. All of them are checked before one is
// changed. What a disk refuses is part of the reply, for the caller has to know
// how large the others have become; an error says that nothing was decided, and
// that the order may be repeated.
func (a *Agent) resize(ctx context.Context, m *machine, v Resize, _ *task) (Resized, error) {
	if err := m.must(verbResize, RoleIdle, RoleHome); err != nil {
		return Resized{}, err
	}
	grow, err := a.grower(ctx, m)
	if err != nil {
		return Resized{}, err
	}
	refusal := a.growable(m, v.Disks)
	for n := 0; n < len(v.Disks) && refusal == nil; n++ {
		refusal = grow(ctx, v.Disks[n])
		if droveway.Is(refusal, droveway.Unavailable) {
			return Resized{}, refusal // another attempt checks for room again
		}
	}
	r, err := a.sizes(m, v.Disks)
	if refusal != nil {
		r.Refused = refusal.Error()
	}
	return r, err
}

// grower gives the way to make a disk of the machine larger: its instance, or
// without one the pool.
func (a *Agent) grower(ctx context.Context, m *machine) (func(context.Context, DiskSize) error, error) {
	s, err := m.state(ctx)
	if err != nil {
		return nil, err
	}
	if s == hypervisor.Gone {
		return func(ctx context.Context, d DiskSize) error {
			return a.pool.Grow(ctx, droveway.VolumeName(m.name, d.Name), d.Size)
		}, nil
	}
	r, ok := m.instance().(hypervisor.Resizer)
	if !ok {
		return nil, droveway.Missing("resize", "machine %s: its driver cannot resize disks that are in use: stop it first", m.name)
	}
	return func(ctx context.Context, d DiskSize) error { return r.Resize(ctx, d.Name, d.Size) }, nil
}

// growable refuses what cannot be, before anything is changed.
func (a *Agent) growable(m *machine, disks []DiskSize) error {
	if err := a.mustBeWhole(m); err != nil {
		return err
	}
	free, err := a.pool.Free()
	if err != nil {
		return err
	}
	var more int64
	for _, d := range disks {
		have, err := a.pool.Size(droveway.VolumeName(m.name, d.Name))
		if err != nil {
			return err
		}
		if have > d.Size {
			return droveway.Errorf(droveway.Invalid, "disk %s of machine %s has %d bytes and %d are wanted: it can only grow", d.Name, m.name, have, d.Size)
		}
		more += d.Size - have
	}
	if more > free {
		return droveway.Errorf(droveway.Unavailable, "host %s has %d MiB free, the disks of machine %s would need %d MiB more: free some, or move the machine to another host first",
			a.cfg.Name, free>>20, m.name, more>>20)
	}
	return nil
}

// sizes notes how large disks are now, and tells it.
func (a *Agent) sizes(m *machine, disks []DiskSize) (r Resized, err error) {
	all := slices.Clone(m.rec.Instance.Disks) // readers may have the old ones
	for n := range all {
		d := &all[n]
		if !slices.ContainsFunc(disks, func(s DiskSize) bool { return s.Name == d.Name }) {
			continue
		}
		if d.Size, err = a.pool.Size(droveway.VolumeName(m.name, d.Name)); err != nil {
			return Resized{}, err
		}
		r.Disks = append(r.Disks, DiskSize{d.Name, d.Size})
	}
	return r, a.save(m, func(r *record) { r.Instance.Disks = all })
}

// unchanged refuses to part with disks that are not as large as the other host
// was told: somebody has changed them behind the fleet's back.
func (a *Agent) unchanged(m *machine) error {
	if err := a.mustBeWhole(m); err != nil {
		return err
	}
	for _, d := range m.rec.Instance.Disks {
		have, err := a.pool.Size(droveway.VolumeName(m.name, d.Name))
		if err != nil {
			return err
		}
		if have != d.Size {
			return droveway.Errorf(droveway.Conflict, "disk %s of machine %s has %d bytes here and %d in the fleet's record, so the other host's copy would not fit: use droveway machine resize, not other tools, to change it",
				d.Name, m.name, have, d.Size)
		}
	}
	return nil
}
