package machine

import (
	"context"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
)

// claimLook is how often a claim is checked for being left over.
const claimLook = 2 * time.Second

// reconcileMachine writes down what is seen of a machine and starts it if it
// should run. A machine that a job holds is the job's.
func (c *Controller) reconcileMachine(ctx context.Context, name string) (again time.Duration, err error) {
	m, rev, err := c.cfg.Fleet.Machines.Get(ctx, name)
	if droveway.Is(err, droveway.NotFound) {
		c.restarts.forget(name)
		return 0, nil
	}
	switch {
	case err != nil:
		return 0, err
	case m.Status.Job != "":
		return c.freeLeftOver(ctx, &m)
	case m.Status.Host == "":
		return 0, nil
	}
	v, err := c.verdict(ctx, &m)
	if err != nil {
		return 0, err
	}
	if v.state != m.Status.State || v.message != m.Status.Message {
		return 0, c.write(ctx, m, rev, v) // the watch tells of it, then goes on below
	}
	if v.start {
		return c.restart(ctx, &m, rev)
	}
	return 0, nil
}

// freeLeftOver ends the claim of a job that ended without doing so.
func (c *Controller) freeLeftOver(ctx context.Context, m *droveway.Machine) (again time.Duration, err error) {
	j, err := c.cfg.Jobs.Get(ctx, m.Status.Job)
	if err == nil && !j.State.Ended() {
		return claimLook, nil
	}
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return 0, err
	}
	c.cfg.Log.Warn("freed a machine whose job has ended", "machine", m.Name, "job", m.Status.Job)
	return 0, Unclaim(ctx, c.cfg.Fleet, m.Name, m.Status.Job)
}

// verdict judges by the host's report. A report may be older than what a job
// did since, so what would change something is asked of the host itself.
func (c *Controller) verdict(ctx context.Context, m *droveway.Machine) (verdict, error) {
	ready, err := c.ready(ctx, m.Status.Host)
	if err != nil {
		return verdict{}, err
	}
	failed, err := c.startError(ctx, m.Name)
	if err != nil {
		return verdict{}, err
	}
	if !ready {
		return judge(m, false, host.Observed{}, failed), nil
	}
	o, _, err := fleet.Observed(c.cfg.Fleet.Stores, m.Status.Host).Get(ctx, m.Name)
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return verdict{}, err
	}
	v := judge(m, true, o, failed)
	if err == nil && !v.start && v.state == m.Status.State && v.message == m.Status.Message {
		return v, nil
	}
	if o, err = c.cfg.Hosts.Look(ctx, m.Status.Host, m.Name); err != nil {
		return verdict{}, err
	}
	return judge(m, true, o, failed), nil
}

// ready reports whether a host is known to live. One that was taken out of the
// fleet is not.
func (c *Controller) ready(ctx context.Context, name string) (bool, error) {
	h, _, err := c.cfg.Fleet.Hosts.Get(ctx, name)
	if droveway.Is(err, droveway.NotFound) {
		return false, nil
	}
	return h.Status.State == droveway.HostReady, err
}

// write writes a verdict down, unless somebody changed the machine meanwhile:
// then the watch tells and it is judged again.
func (c *Controller) write(ctx context.Context, m droveway.Machine, rev uint64, v verdict) error {
	if m.Status.State == droveway.MachineRunning && time.Since(m.Status.Since) > restartMax {
		c.restarts.forget(m.Name) // it ran well for a while: no reason to wait
	}
	setState(&m, v.state, v.message)
	_, err := c.cfg.Fleet.Machines.Put(ctx, m.Name, m, rev)
	if droveway.Is(err, droveway.Conflict) {
		return nil
	}
	return err
}
