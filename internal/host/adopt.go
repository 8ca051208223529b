package host

import (
	"context"
	"time"

	"github.com/droveway/droveway"
)

// adoptAgain is the wait before what could not be adopted is tried again.
const adoptAgain = 5 * time.Second

// adopt takes over the instances and secondaries that an earlier process left. A
// machine with which that fails is held: since it may run, no command touches it, but
// the others are served.
func (a *Agent) adopt(ctx context.Context) error {
	names, err := a.records.machines()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := droveway.ValidName("machine", name); err != nil {
			a.cfg.Log.Warn("a file among the records of the machines is none: take it away", "dir", a.records.dir, "error", err)
			continue
		}
		a.adoptOne(ctx, a.machine(name))
	}
	return nil
}

func (a *Agent) adoptOne(ctx context.Context, m *machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setRecord(record{Instance: Instance{Machine: m.name}, Role: RoleUnknown})
	m.setTrouble(a.unadopted(m, errNotLooked))
	if err := a.attach(ctx, m); err != nil {
		a.cfg.Log.Error("a machine could not be adopted: it is left alone until that succeeds", "machine", m.name, "error", err)
	}
}

// adoptLater tries again what could not be adopted, until ctx ends.
func (a *Agent) adoptLater(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(adoptAgain):
		}
		for _, m := range a.all() {
			if m.trouble() == nil || !m.mu.TryLock() {
				continue
			}
			if a.attach(ctx, m) == nil {
				a.cfg.Log.Info("a machine that could not be adopted is looked after again", "machine", m.name, "role", m.rec.Role)
				a.forgetBlank(m)
				a.changed()
			}
			m.mu.Unlock()
		}
	}
}

// attach adopts a machine, unless that is done. The caller holds the machine.
func (a *Agent) attach(ctx context.Context, m *machine) error {
	if m.trouble() == nil {
		return nil
	}
	err := a.readRecord(m)
	if err == nil && !m.rec.blank() {
		err = a.attachProcesses(ctx, m)
	}
	if err != nil {
		err = a.unadopted(m, err)
	}
	m.setTrouble(err)
	return err
}

// readRecord reads a record that could not be read yet. One that somebody took away is
// their word that the host has nothing of the machine.
func (a *Agent) readRecord(m *machine) error {
	if m.rec.Role != RoleUnknown {
		return nil
	}
	rec, err := a.records.read(m.name)
	if err != nil {
		return err
	}
	if rec == nil {
		a.cfg.Log.Warn("the record of a machine was taken away: the host has nothing of it", "machine", m.name)
		rec = &newMachine(m.name).rec
	}
	m.setRecord(*rec)
	return nil
}

func (a *Agent) attachProcesses(ctx context.Context, m *machine) error {
	if err := a.attachInstance(ctx, m); err != nil {
		return err
	}
	return a.attachSecondary(ctx, m)
}

// unadopted is of kind Unavailable whatever the cause: it tells of no command that it
// could never be carried out.
func (a *Agent) unadopted(m *machine, why error) error {
	if m.rec.Role == RoleUnknown {
		return droveway.Errorf(droveway.Unavailable, "host %s cannot tell what it has of machine %s, which may well run: %w", a.cfg.Name, m.name, why)
	}
	return droveway.Errorf(droveway.Unavailable, "host %s cannot adopt machine %s, so nobody knows what of it runs: %w; mend that, or, if nothing of it runs, stop the agent and put %s aside",
		a.cfg.Name, m.name, why, a.records.path(m.name))
}

// attachInstance finds what the record has a handle of. What was started without one
// being kept nobody was told of: it ends.
func (a *Agent) attachInstance(ctx context.Context, m *machine) error {
	switch {
	case m.instance() != nil: // found by an attempt that failed later
		return nil
	case m.rec.Handle == nil:
		return a.cfg.Driver.Sweep(ctx, a.instanceDir(&m.rec.Instance))
	}
	inst, err := a.cfg.Driver.Attach(ctx, m.rec.Handle)
	if droveway.Is(err, droveway.NotFound) {
		return nil
	}
	if err == nil {
		a.cfg.Log.Info("adopted", "machine", m.name, "pid", inst.PID(), "role", m.rec.Role)
		a.hold(m, inst)
	}
	return err
}

// attachSecondary does the same for the process that serves the disks.
func (a *Agent) attachSecondary(ctx context.Context, m *machine) error {
	if m.rec.Secondary == nil {
		return a.cfg.Driver.Sweep(ctx, a.secondaryDir(m.name))
	}
	sec, err := a.restorer().AttachSecondary(ctx, m.rec.Secondary)
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return err
	}
	m.setSecondary(sec, err == nil)
	a.guard(m)
	return nil
}
