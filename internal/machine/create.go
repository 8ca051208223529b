package machine

import (
	"context"
	"encoding/json"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
)

type createArgs struct {
	Machine droveway.Machine `json:"machine"`
}

// none is the state of a job whose steps find everything in the record.
type none struct{}

// creating is what the steps of a creation hand on.
type creating struct {
	UUID    string `json:"uuid,omitempty"`    // of the machine that was made
	Alive   int64  `json:"alive,omitempty"`   // Unix ms at which its guest had given a sign of life
	Waits   Waits  `json:"waits,omitzero"`    // for what its disks are filled from
	Differs string `json:"differs,omitempty"` // why the source is not what was ordered
	Result  Filled `json:"result,omitzero"`
}

// defineCreate makes the steps of a creation:
//
//	record ─▶ place ─▶ networks ─▶ volumes ─▶ start ─▶ finish ─▶ fill
//	   └─────────┴────────┴───────────┴─────────┘ ║                └ only if a disk has
//	           undone: nothing is left     point of no return        an origin
func (c *Controller) defineCreate(args json.RawMessage) ([]job.Step[creating], error) {
	var a createArgs
	if err := decode(KindCreate, args, &a); err != nil {
		return nil, err
	}
	s := on[creating]{c, a.Machine.Name}
	steps := []job.Step[creating]{
		{Name: "record", Do: c.record(a.Machine), Undo: s.forget},
		{Name: "place", Do: s.place},
		{Name: "networks", Do: s.networks},
		{Name: "volumes", Do: s.volumes, Undo: s.removeVolumes},
		{Name: "start", Do: s.startWanted, Undo: s.kill, Point: true},
		{Name: "finish", Do: s.finish(wanted)},
	}
	if a.Machine.Origin() != nil {
		steps = append(steps, job.Step[creating]{Name: "fill", Do: c.fill(a.Machine)})
	}
	return steps, nil
}

func decode(kind string, args json.RawMessage, into any) error {
	if err := json.Unmarshal(args, into); err != nil {
		return droveway.Errorf(droveway.Invalid, "arguments of a job %s: %w", kind, err)
	}
	return nil
}

// record writes the machine down, which belongs to the job from the beginning.
func (c *Controller) record(m droveway.Machine) func(context.Context, *job.Run[creating]) error {
	return func(ctx context.Context, r *job.Run[creating]) error {
		c.entering.Lock()
		defer c.entering.Unlock()
		present, _, err := c.cfg.Fleet.Machines.Get(ctx, m.Name)
		if err == nil && present.Status.Job == r.Job {
			r.State.UUID = fleet.UUID(&present)
			return nil // a repetition
		}
		if err == nil {
			return clash(m.Name)
		}
		if !droveway.Is(err, droveway.NotFound) {
			return err
		}
		m := m
		m.Created = time.Now().UTC()
		if m, err = c.complete(ctx, m); err != nil {
			return err
		}
		setState(&m, droveway.MachinePending, "")
		m.Status.Job, r.State.UUID = r.Job, fleet.UUID(&m)
		return c.cfg.Fleet.Machines.Create(ctx, m.Name, m)
	}
}

func clash(name string) error {
	return droveway.Errorf(droveway.Exists, "there is a machine %q already: choose another name", name)
}

// complete gives a new machine what its writer left to the server.
func (c *Controller) complete(ctx context.Context, m droveway.Machine) (_ droveway.Machine, err error) {
	if m.Spec.Disks, err = c.disks(ctx, &m); err != nil {
		return m, err
	}
	if m.Spec.Firmware, err = c.firmware(ctx, &m); err != nil {
		return m, err
	}
	if m.Spec.CPU, err = c.cpu(ctx, &m); err != nil {
		return m, err
	}
	networks, err := c.cfg.Fleet.Networks.List(ctx)
	if err != nil {
		return m, err
	}
	machines, err := c.cfg.Fleet.Machines.List(ctx)
	if err != nil {
		return m, err
	}
	m.Spec.NICs, err = cards(&m, networks, holdingsOf(machines, m.Name))
	return m, err
}

// place gives the machine its host and its first token.
func (s on[S]) place(ctx context.Context, r *job.Run[S]) error {
	s.c.entering.Lock()
	defer s.c.entering.Unlock()
	m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil || m.Status.Host != "" {
		return err
	}
	host, err := s.c.choose(ctx, &m)
	if err != nil {
		return err
	}
	_, err = advance(ctx, s.c.cfg.Fleet, s.machine, r.Job, func(m *droveway.Machine) {
		m.Status.Host = host
		setState(m, droveway.MachinePlaced, "")
	})
	return err
}

// volumes has the host make the machine's disks.
func (s on[S]) volumes(ctx context.Context, r *job.Run[S]) error {
	m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil {
		return err
	}
	i, err := s.c.instance(ctx, m)
	if err != nil {
		return err
	}
	for n, d := range m.Spec.Disks {
		if d.Image != "" && i.Disks[n].Image == nil {
			return droveway.Errorf(droveway.NotFound, "machine %s: disk %s: image %q was removed meanwhile", m.Name, d.Name, d.Image)
		}
	}
	if _, err = s.c.cfg.Hosts.Create(ctx, m.Status.Host, i, r.Progress); err != nil {
		return err
	}
	return whileHeld(ctx, s.c.cfg.Fleet, s.machine, r.Job, func(m *droveway.Machine) {
		setState(m, droveway.MachineDefining, "")
	})
}

// removeVolumes removes all that the machine's host has of it, the guest too.
func (s on[S]) removeVolumes(ctx context.Context, r *job.Run[S]) error {
	m, ok, err := s.onHost(ctx, r)
	if err != nil || !ok {
		return err
	}
	_, err = s.c.cfg.Hosts.Remove(ctx, m.Status.Host, ref(&m))
	return err
}

func (s on[S]) startWanted(ctx context.Context, r *job.Run[S]) error {
	m, err := held(ctx, s.c.cfg.Fleet, s.machine, r.Job)
	if err != nil || !m.Spec.Running {
		return err
	}
	return s.start(ctx, r)
}

func ref(m *droveway.Machine) host.Ref { return host.Ref{Machine: m.Name, Token: m.Status.Token} }
