package machine

import (
	"context"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/place"
)

// KindResize is the kind of a job that changes the size of a machine.
const KindResize = "machine-resize"

// Resize is another size that somebody wants for a machine. What is zero stays as
// it is.
type Resize struct {
	Machine string `json:"machine"`
	Size
}

// Size is how large a machine is.
type Size struct {
	CPUs      int          `json:"cpus,omitempty"`
	CPU       droveway.CPU `json:"cpu,omitempty"`
	MemoryMiB int64        `json:"memory_mib,omitempty"`
	Disks     []SizedDisk  `json:"disks,omitempty"`
}

// SizedDisk is how large a disk is.
type SizedDisk struct {
	Name    string `json:"name"`
	SizeMiB int64  `json:"size_mib"`
}

// ResizePlan is what a resize would do.
type ResizePlan struct {
	Machine string   `json:"machine"`
	Host    string   `json:"host"`
	Before  Size     `json:"before"`
	After   Size     `json:"after"`
	Steps   []string `json:"steps"`
}

func sizeOf(s *droveway.MachineSpec) Size {
	z := Size{CPUs: s.CPUs, CPU: s.CPU, MemoryMiB: s.MemoryMiB}
	for _, d := range s.Disks {
		z.Disks = append(z.Disks, SizedDisk{d.Name, d.SizeMiB})
	}
	return z
}

// Resize makes a machine larger: its disks whether it runs or not, CPUs and
// memory, which may also shrink, while it is stopped. Errors: NotFound, also for
// an unknown disk; Invalid for a disk that would shrink, or if nothing is wanted;
// Conflict if the machine belongs to a job, or runs and other CPUs or memory are
// wanted; Unavailable if its host is silent or has no room. The same request
// identifier gives the same job.
func (c *Controller) Resize(ctx context.Context, r Resize, requestID string) (droveway.Job, error) {
	check := func() error {
		p, err := c.PlanResize(ctx, r)
		if r.CPU != "" {
			r.CPU = p.After.CPU // the baseline by its name
		}
		return err
	}
	return c.submit(ctx, KindResize, r.Machine, requestID, check, func() any { return r })
}

// PlanResize checks a resize and says what it would do.
func (c *Controller) PlanResize(ctx context.Context, r Resize) (ResizePlan, error) {
	m, err := c.idle(ctx, r.Machine)
	if err != nil {
		return ResizePlan{}, err
	}
	after, err := c.resizable(ctx, &m, &r)
	if err != nil {
		return ResizePlan{}, err
	}
	p := ResizePlan{Machine: m.Name, Host: m.Status.Host, Before: sizeOf(&m.Spec), After: sizeOf(&after.Spec)}
	for _, s := range c.resizeSteps(r) {
		p.Steps = append(p.Steps, s.Name)
	}
	return p, nil
}

// resizable gives the machine as it is to be, if it can be.
func (c *Controller) resizable(ctx context.Context, m *droveway.Machine, r *Resize) (after droveway.Machine, err error) {
	if after, err = r.apply(m); err != nil {
		return after, err
	}
	if err := MustBeWhole(m); err != nil {
		return after, err
	}
	if r.CPU != "" {
		if after.Spec.CPU, err = c.cpu(ctx, &after); err != nil {
			return after, err
		}
	}
	same := m.Spec.CPUs == after.Spec.CPUs && m.Spec.CPU == after.Spec.CPU && m.Spec.MemoryMiB == after.Spec.MemoryMiB
	if !same && (m.Spec.Running || m.Status.State != droveway.MachineStopped) {
		return after, droveway.Errorf(droveway.Conflict, "machine %s is %s: CPUs and memory change while it is stopped: stop it first", m.Name, m.Status.State)
	}
	return after, c.roomFor(ctx, m, &after)
}

// apply gives the machine with the size that is wanted.
func (r *Resize) apply(m *droveway.Machine) (droveway.Machine, error) {
	after := *m
	if r.CPUs == 0 && r.CPU == "" && r.MemoryMiB == 0 && len(r.Disks) == 0 {
		return after, droveway.Errorf(droveway.Invalid, "resize machine %s: nothing is to change: give disks, CPUs or memory", m.Name)
	}
	after.Spec.Disks = slices.Clone(m.Spec.Disks)
	r.setRest(&after.Spec)
	seen := map[string]bool{}
	for _, d := range r.Disks {
		n := slices.IndexFunc(after.Spec.Disks, func(have droveway.Disk) bool { return have.Name == d.Name })
		switch {
		case n < 0:
			return after, droveway.Errorf(droveway.NotFound, "machine %s has no disk %q", m.Name, d.Name)
		case seen[d.Name]:
			return after, droveway.Errorf(droveway.Invalid, "resize machine %s: disk %s is named twice: give one size", m.Name, d.Name)
		case d.SizeMiB < after.Spec.Disks[n].SizeMiB:
			return after, droveway.Errorf(droveway.Invalid, "machine %s: disk %s has %d MiB and %d are wanted: a disk can only grow", m.Name, d.Name, after.Spec.Disks[n].SizeMiB, d.SizeMiB)
		}
		seen[d.Name], after.Spec.Disks[n].SizeMiB = true, d.SizeMiB
	}
	return after, after.Validate()
}

// setRest sets what is no matter of a host.
func (r *Resize) setRest(s *droveway.MachineSpec) {
	if r.CPUs != 0 {
		s.CPUs = r.CPUs
	}
	if r.CPU != "" {
		s.CPU = r.CPU
	}
	if r.MemoryMiB != 0 {
		s.MemoryMiB = r.MemoryMiB
	}
}

// roomFor asks whether the machine's host has room for what is more.
func (c *Controller) roomFor(ctx context.Context, m, after *droveway.Machine) error {
	h, _, err := c.cfg.Fleet.Hosts.Get(ctx, m.Status.Host)
	if err != nil {
		return missing(err, "machine %s: its host %q is not in the fleet", m.Name, m.Status.Host)
	}
	if h.Status.State != droveway.HostReady {
		return silent(m.Name, &h)
	}
	n, err := Need(ctx, c.cfg.Fleet, after)
	if err != nil {
		return err
	}
	more := place.Need{DiskMiB: n.DiskMiB - diskMiB(m), Used: n.Used}
	if after.Spec.CPUs > m.Spec.CPUs {
		more.CPUs = n.CPUs
	}
	if after.Spec.MemoryMiB > m.Spec.MemoryMiB {
		more.MemoryMiB = n.MemoryMiB
	}
	if after.Spec.CPU != m.Spec.CPU {
		more.Requires = after.Spec.CPU.Requires()
	}
	if err := more.Room(h); err != nil {
		return droveway.Errorf(droveway.KindOf(err), "resize machine %s: %w", m.Name, err)
	}
	return nil
}
