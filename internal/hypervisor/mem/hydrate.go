package mem

import (
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// TakeOver lets the guest run with its disks read from their origins.
func (i *Instance) TakeOver(ctx context.Context, origins []hypervisor.Origin) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("TakeOver")
	if err != nil {
		return err
	}
	if !i.spec.Waits() || s == hypervisor.Incoming || s == hypervisor.Sent {
		return i.conflict("TakeOver", s)
	}
	if s != hypervisor.Received {
		return nil // done before
	}
	if len(origins) == 0 {
		return i.takeLocal()
	}
	from := map[string]hypervisor.Origin{}
	for _, o := range origins {
		from[o.Disk] = o
	}
	for _, d := range i.disks {
		o, ok := from[d.spec.Name]
		if !ok {
			return droveway.Errorf(droveway.Invalid, "take over machine %s: no origin for disk %s", i.spec.Machine, d.spec.Name)
		}
		if err := d.follow(ctx, o); err != nil {
			return droveway.Errorf(droveway.Unavailable, "take over machine %s: origin of disk %s at %s: %w", i.spec.Machine, d.spec.Name, o.Address, err)
		}
	}
	i.become(hypervisor.Running)
	for _, d := range i.disks {
		go d.copy(i.end, i.news)
	}
	return nil
}

// takeLocal lets the guest run with its local files.
func (i *Instance) takeLocal() error {
	if err := i.open(); err != nil {
		return err
	}
	i.become(hypervisor.Running)
	return nil
}

func (i *Instance) news() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wake()
}

// Hydration tells how far the disks are.
func (i *Instance) Hydration(context.Context) (hypervisor.Hydration, error) {
	s, err := i.step("Hydration")
	if err != nil {
		return hypervisor.Hydration{}, err
	}
	h := hypervisor.Hydration{Ready: true, Settled: true}
	if s == hypervisor.Incoming || s == hypervisor.Received {
		h = hypervisor.Hydration{}
	}
	for _, d := range i.disks {
		d.progress(&h)
	}
	i.filling(&h)
	if s == hypervisor.Stuck {
		h.Ready = false
	}
	return h, nil
}

// SetRate shares a rate among the disks that are being copied.
func (i *Instance) SetRate(_ context.Context, rate int64) error {
	if _, err := i.step("SetRate"); err != nil {
		return err
	}
	n := int64(0)
	for _, d := range i.disks {
		if d.hydrating() {
			n++
		}
	}
	for _, d := range i.disks {
		if rate > 0 && n > 0 {
			d.setRate(max(rate/n, 1))
		} else {
			d.setRate(0)
		}
	}
	return nil
}

// Settle ends the use of the origins if whole agrees.
func (i *Instance) Settle(ctx context.Context, whole func(context.Context) error) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	h, err := i.Hydration(ctx)
	if err != nil {
		return err
	}
	if _, err := i.step("Settle"); err != nil || h.Settled {
		return err
	}
	if !h.Ready {
		return droveway.Errorf(droveway.Conflict, "settle machine %s: its disks are not mirrored in full", i.spec.Machine)
	}
	if i.fills() {
		return i.leaveFilled()
	}
	i.become(hypervisor.Paused)
	i.still()
	defer i.become(hypervisor.Running)
	if err := whole(ctx); err != nil {
		return err
	}
	for _, d := range i.disks {
		if err := d.leave(); err != nil {
			return err
		}
	}
	return nil
}
