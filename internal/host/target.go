package host

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// reserve makes room for a machine that is to move here: disks without content
// and an instance that waits for memory.
func (a *Agent) reserve(ctx context.Context, m *machine, v Reserve, _ *task) (Reserved, error) {
	i := v.Instance
	if err := m.must(verbReserve, RoleNone, RoleArriving); err != nil {
		return Reserved{}, err
	}
	if s, err := m.state(ctx); err != nil || m.ready(s, v.Token) {
		return Reserved{Address: m.rec.Listen, Way: m.rec.Way, Vars: a.varsBytes(&i)}, err
	}
	if err := a.clear(ctx, m); err != nil { // of an earlier order; disks here are of no worth yet
		return Reserved{}, err
	}
	if err := a.room(&i); err != nil {
		return Reserved{}, err
	}
	if err := a.save(m, func(r *record) { *r = record{Instance: i, Role: RoleArriving, Peer: v.Peer} }); err != nil {
		return Reserved{}, err
	}
	if err := a.makeRoom(ctx, m, v.Boots); err != nil {
		return Reserved{}, err
	}
	if v.Boots {
		return Reserved{Vars: a.varsBytes(&i)}, nil
	}
	way, err := a.prepareMemory(ctx, m, v.Way)
	if err != nil {
		return Reserved{}, err
	}
	m.rec.Way = way // saved with the address
	listen, err := a.listen(ctx, m)
	return Reserved{Address: listen, Way: way, Vars: a.varsBytes(&i)}, err
}

// ready reports whether an earlier order of the same token has made an instance
// that waits. One that has got its memory meanwhile waits too: it has the only
// whole copy of it.
func (m *machine) ready(s hypervisor.State, token uint64) bool {
	return m.rec.Instance.Token == token && (s == hypervisor.Received || s == hypervisor.Incoming && m.rec.Listen != "")
}

// makeRoom makes disks without content and the instance.
func (a *Agent) makeRoom(ctx context.Context, m *machine, boots bool) error {
	i := &m.rec.Instance
	for _, d := range i.Disks {
		if err := a.pool.Create(ctx, droveway.VolumeName(i.Machine, d.Name), d.Format, d.Size); err != nil {
			return fmt.Errorf("make disk %s: %w", d.Name, err)
		}
	}
	if boots {
		return a.run(ctx, m, forDisks)
	}
	return a.run(ctx, m, forMemory)
}

// listen makes the instance take memory.
func (a *Agent) listen(ctx context.Context, m *machine) (string, error) {
	mv, err := m.mover()
	if err != nil {
		return "", err
	}
	listen, err := mv.Receive(ctx, a.cfg.Address.String()+":0")
	if err != nil {
		return "", fmt.Errorf("wait for the memory of machine %s: %w", m.name, err)
	}
	return listen, a.save(m, func(r *record) { r.Listen = listen })
}

// room refuses disks that are larger than what is free, before anything is
// made.
func (a *Agent) room(i *Instance) error {
	free, err := a.pool.Free()
	if err != nil {
		return err
	}
	var need int64
	for _, d := range i.Disks {
		if _, _, err := a.pool.Path(droveway.VolumeName(i.Machine, d.Name)); err != nil {
			need += d.Size // of one that is there already the rest is promised
		}
	}
	if need > free {
		return droveway.Errorf(droveway.Unavailable, "host %s has %d MiB free, the disks of machine %s need %d MiB: free some or choose another host",
			a.cfg.Name, free>>20, i.Machine, need>>20)
	}
	return nil
}

// discard undoes reserve, as long as the guest has never run here.
func (a *Agent) discard(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if m.rec.Role == RoleNone {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbDiscard, RoleArriving, RoleReturned); err != nil {
		return Observed{}, err
	}
	return a.vacate(ctx, m)
}

// takeOver lets the guest run here, with its disks read from their origin. What
// it is about to do is on disk first: from then on the instance may have run, and
// its memory, if it is lost, is lost.
func (a *Agent) takeOver(ctx context.Context, m *machine, t TakeOver, _ *task) (Observed, error) {
	if m.rec.Role == RoleHome {
		return a.observe(ctx, m), nil // it has settled since
	}
	if err := m.must(verbTakeOver, RoleArriving, RoleHydrating); err != nil {
		return Observed{}, err
	}
	if m.instance() == nil {
		return Observed{}, noInstance(m.name)
	}
	if err := a.takeVars(ctx, m, t.Vars); err != nil {
		return Observed{}, err
	}
	t.Vars = "" // they are in their file
	if err := a.save(m, func(r *record) { r.Role, r.Origin = RoleHydrating, &t }); err != nil {
		return Observed{}, err
	}
	// What comes for the guest from now on waits here for it.
	var said sync.WaitGroup
	said.Go(func() { a.announce(ctx, m) })
	err := a.hydrate(ctx, m, t)
	said.Wait()
	if err != nil {
		return Observed{}, m.notTaken(ctx, err)
	}
	a.announce(ctx, m)
	return a.observe(ctx, m), nil
}

// notTaken judges a take-over that failed. Conflict means that the guest is not to be
// had here; one that runs already is, whatever was wrong with the copy of its disks.
func (m *machine) notTaken(ctx context.Context, cause error) error {
	s, err := m.state(ctx)
	switch {
	case err != nil:
		return cause
	case s == hypervisor.Gone:
		return noInstance(m.name)
	case s == hypervisor.Running || s == hypervisor.Stuck:
		return droveway.Errorf(droveway.Unavailable, "%w", cause)
	}
	return cause
}

func (a *Agent) hydrate(ctx context.Context, m *machine, t TakeOver) error {
	mv, err := m.mover()
	if err != nil {
		return err
	}
	var origins []hypervisor.Origin
	for _, d := range m.rec.Instance.Disks {
		origins = append(origins, hypervisor.Origin{Disk: d.Name, Address: t.Address, Export: d.Name, Peer: t.Peer, Rate: share(t.Rate, len(m.rec.Instance.Disks)), Reads: t.Reads})
	}
	if err := mv.TakeOver(ctx, origins); err != nil {
		return fmt.Errorf("take over machine %s: %w", m.name, err)
	}
	return nil
}

// share is the part of a rate that one of several disks gets; 0 is no limit.
func share(rate int64, disks int) int64 {
	if rate == 0 {
		return 0
	}
	return max(rate/int64(disks), 1)
}

// hydration answers at once when the disks are ready or the instance is gone,
// and else after awaitMax.
func (a *Agent) hydration(ctx context.Context, r Ref) (Hydration, error) {
	m := a.look(r.Machine)
	if err := m.trouble(); err != nil {
		return Hydration{}, err
	}
	mv, err := m.mover()
	if err != nil {
		return a.withLacks(m, Hydration{Instance: hypervisor.Gone})
	}
	ctx, cancel := context.WithTimeout(ctx, awaitMax)
	defer cancel()
	for {
		changed := mv.Changed()
		h, err := status(context.WithoutCancel(ctx), mv)
		if err != nil {
			return h, err
		}
		if h.Ready || h.Settled || h.Instance == hypervisor.Gone {
			return a.withLacks(m, h)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return a.withLacks(m, h)
		}
	}
}

// withLacks adds which disks are not whole, which their files say.
func (a *Agent) withLacks(m *machine, h Hydration) (_ Hydration, err error) {
	rec := m.record()
	h.Lacks, err = a.lacking(&rec.Instance)
	return h, err
}

func status(ctx context.Context, mv hypervisor.Mover) (h Hydration, err error) {
	if h.Instance, err = mv.State(ctx); err != nil || h.Instance == hypervisor.Gone {
		return h, err
	}
	h.Hydration, err = mv.Hydration(ctx)
	return h, err
}

// setRate bounds the copy. The record has the rate too: a copy that begins anew
// after an error keeps to it.
func (a *Agent) setRate(ctx context.Context, m *machine, r Rate, _ *task) (Observed, error) {
	if err := m.must(verbRate, RoleHydrating, RoleHome); err != nil {
		return Observed{}, err
	}
	if r.Rate < 0 {
		return Observed{}, droveway.Errorf(droveway.Invalid, "machine %s: a copy rate of %d bytes a second: give 0, which is no limit, or more", m.name, r.Rate)
	}
	mv, err := m.mover()
	if err != nil {
		return Observed{}, err
	}
	if m.rec.Origin != nil {
		origin := *m.rec.Origin // readers may have the old one
		origin.Rate = r.Rate
		if err := a.save(m, func(r *record) { r.Origin = &origin }); err != nil {
			return Observed{}, err
		}
	}
	return a.observe(ctx, m), errors.Join(mv.SetRate(ctx, r.Rate), ctx.Err())
}
