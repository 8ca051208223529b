package machine

import (
	"context"
	"errors"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// on is the steps that several kinds of job have in common, for one machine.
type on[S any] struct {
	c       *Controller
	machine string
}

func (s on[S]) claim(ctx context.Context, r *job.Run[S]) error {
	_, err := Claim(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	return err
}

func (s on[S]) unclaim(ctx context.Context, r *job.Run[S]) error {
	return Unclaim(ctx, s.c.cfg.Fleet, s.machine, r.Job)
}

// networks tells the machine's host the networks: it may not have heard yet of
// one that the machine is on.
func (s on[S]) networks(ctx context.Context, r *job.Run[S]) error {
	m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil {
		return err
	}
	return s.c.tellNetworks(ctx, m.Status.Host)
}

func (s on[S]) start(ctx context.Context, r *job.Run[S]) error {
	m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil {
		return err
	}
	i, err := s.c.instance(ctx, m)
	if err != nil {
		return err
	}
	_, err = s.c.cfg.Hosts.Start(ctx, m.Status.Host, i)
	return err
}

// onHost reads the record of the machine, if the job still has it and its host
// may have something of it. That a host was taken out of the fleet is the
// operator's word that it has nothing.
func (s on[S]) onHost(ctx context.Context, r *job.Run[S]) (m droveway.Machine, ok bool, err error) {
	m, ok, err = stillHeld(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil || !ok {
		return m, false, err
	}
	_, _, err = s.c.cfg.Fleet.Hosts.Get(ctx, m.Status.Host)
	if droveway.Is(err, droveway.NotFound) { // also if it has no host yet
		return m, false, nil
	}
	return m, err == nil, err
}

// kill undoes start. Stop comes before any question, because it also ends a start
// that is still under way on the host.
func (s on[S]) kill(ctx context.Context, r *job.Run[S]) error {
	m, ok, err := s.onHost(ctx, r)
	if err != nil || !ok {
		return err
	}
	_, err = s.c.cfg.Hosts.Stop(ctx, m.Status.Host, host.Stop{Ref: ref(&m)})
	if !droveway.Is(err, droveway.Conflict) {
		return err
	}
	// A host refuses to stop what it has no disks of.
	o, unseen := s.c.cfg.Hosts.Show(ctx, m.Status.Host, m.Name)
	if unseen == nil && o.Instance == hypervisor.Gone {
		return nil
	}
	return errors.Join(err, unseen)
}

// finish writes down the machine's new state and frees it, in one write.
func (s on[S]) finish(state func(*droveway.Machine) droveway.MachineState) func(context.Context, *job.Run[S]) error {
	return func(ctx context.Context, r *job.Run[S]) error {
		return whileHeld(ctx, s.c.cfg.Fleet, s.machine, r.Job, func(m *droveway.Machine) {
			setState(m, state(m), "")
			m.Status.Job = ""
		})
	}
}

// wanted is the state of a machine that is as it should be.
func wanted(m *droveway.Machine) droveway.MachineState {
	if m.Spec.Running {
		return droveway.MachineRunning
	}
	return droveway.MachineStopped
}

// forget deletes the record of a machine that the job has.
func (s on[S]) forget(ctx context.Context, r *job.Run[S]) error {
	_, ok, err := stillHeld(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil || !ok {
		return err
	}
	err = s.c.cfg.Fleet.Machines.Delete(ctx, s.machine)
	if droveway.Is(err, droveway.NotFound) {
		return nil
	}
	return err
}
