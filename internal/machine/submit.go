package machine

import (
	"context"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/place"
)

// The kinds of job.
const (
	KindCreate = "machine-create"
	KindStart  = "machine-start"
	KindStop   = "machine-stop"
	KindRemove = "machine-remove"
)

// Create makes a machine, and starts it if that is wanted. What is wrong with it
// is said at once where it can be: Invalid; NotFound names an unknown image,
// network or host; Exists; Conflict for an image that is not ready or an address
// that is taken; Unsupported with the capability that no host has; Unavailable
// if no host has room. The same request identifier gives the same job.
func (c *Controller) Create(ctx context.Context, m droveway.Machine, requestID string) (droveway.Job, error) {
	check := func() error {
		if err := m.Validate(); err != nil {
			return err
		}
		return c.possible(ctx, m)
	}
	m.Created, m.Status = time.Time{}, droveway.MachineStatus{} // the job's to give
	return c.submit(ctx, KindCreate, m.Name, requestID, check, func() any { return createArgs{m} })
}

// possible does what the first steps of a creation will do, without keeping it.
func (c *Controller) possible(ctx context.Context, m droveway.Machine) error {
	_, _, err := c.cfg.Fleet.Machines.Get(ctx, m.Name)
	if err == nil {
		return clash(m.Name)
	}
	if !droveway.Is(err, droveway.NotFound) {
		return err
	}
	if m, err = c.complete(ctx, m); err != nil {
		return err
	}
	_, err = c.choose(ctx, &m)
	return err
}

// choose chooses the host of a machine.
func (c *Controller) choose(ctx context.Context, m *droveway.Machine) (string, error) {
	hosts, err := c.cfg.Fleet.Hosts.List(ctx)
	if err != nil {
		return "", err
	}
	need, err := Need(ctx, c.cfg.Fleet, m)
	if err != nil {
		return "", err
	}
	host, _, err := place.Choose(hosts, need)
	return host, missing(err, "machine %s: there is no host %q", m.Name, m.Spec.Host)
}

// Start starts a machine on the host where its disks are. Errors: NotFound;
// Conflict if it runs, or belongs to a job; Unavailable if its host is silent.
// The same request identifier gives the same job.
func (c *Controller) Start(ctx context.Context, name, requestID string) (droveway.Job, error) {
	check := func() error {
		m, err := c.idle(ctx, name)
		if err != nil {
			return err
		}
		if m.Status.State == droveway.MachineRunning || m.Status.State == droveway.MachinePaused {
			return droveway.Errorf(droveway.Conflict, "machine %s is %s on host %s already", name, m.Status.State, m.Status.Host)
		}
		return nil
	}
	return c.submit(ctx, KindStart, name, requestID, check, func() any { return startArgs{Machine: name} })
}

// Stop asks a machine's guest to power down and ends it once grace is over.
// Errors as of Start.
func (c *Controller) Stop(ctx context.Context, name string, grace time.Duration, requestID string) (droveway.Job, error) {
	check := func() error {
		m, err := c.idle(ctx, name)
		if err != nil {
			return err
		}
		if m.Status.State == droveway.MachineStopped && !m.Spec.Running {
			return droveway.Errorf(droveway.Conflict, "machine %s is stopped already", name)
		}
		if grace < 0 {
			return droveway.Errorf(droveway.Invalid, "stop machine %s: a grace of %s: give 0 or more", name, grace)
		}
		return nil
	}
	return c.submit(ctx, KindStop, name, requestID, check, func() any { return stopArgs{name, grace} })
}

// Remove ends a machine's guest and removes its disks. Errors: NotFound;
// Conflict if it belongs to a job; Unavailable if its host is silent: take the
// host out of the fleet to remove its machines nevertheless.
func (c *Controller) Remove(ctx context.Context, name, requestID string) (droveway.Job, error) {
	check := func() error {
		_, err := c.idle(ctx, name)
		return err
	}
	return c.submit(ctx, KindRemove, name, requestID, check, func() any { return removeArgs{name} })
}

// idle reads a machine that no job has and whose host answers.
func (c *Controller) idle(ctx context.Context, name string) (droveway.Machine, error) {
	m, _, err := c.cfg.Fleet.Machines.Get(ctx, name)
	if err != nil {
		return m, err
	}
	if err := checkFree(&m); err != nil {
		return m, err
	}
	h, _, err := c.cfg.Fleet.Hosts.Get(ctx, m.Status.Host)
	if droveway.Is(err, droveway.NotFound) {
		return m, nil // the job knows what to do without it
	}
	if err == nil && h.Status.State != droveway.HostReady {
		err = silent(name, &h)
	}
	return m, err
}

func silent(machine string, h *droveway.Host) error {
	return droveway.Errorf(droveway.Unavailable, "machine %s: its host %s is %s: the machine may well run there; try again when the host is back", machine, h.Name, h.Status.State)
}

// submit submits a job unless the request was made before. Only a new request is
// checked: the first one may have changed what the check looks at.
func (c *Controller) submit(ctx context.Context, kind, machine, requestID string, check func() error, args func() any) (droveway.Job, error) {
	if j, ok, err := c.cfg.Jobs.Find(ctx, kind, subject(machine), requestID); err != nil || ok {
		return j, err
	}
	if err := check(); err != nil {
		return droveway.Job{}, err
	}
	return c.cfg.Jobs.Submit(ctx, kind, subject(machine), args(), job.SubmitOptions{RequestID: requestID})
}
