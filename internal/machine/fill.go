package machine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Origins are the sources that machines may run from before they are here.
type Origins interface {
	Get(id string) (droveway.Origin, error)
	Verify(ctx context.Context, id string, progress func(done, total int64)) error
	Remove(id string) error
}

// Served says where hosts find the exports of origins: a port of the server, and the
// name in its certificate.
type Served struct{ Port, Peer string }

// Filled is what a creation has found out whose disks were filled from an origin. It
// is the result of the job.
type Filled struct {
	From           string `json:"from"`
	RequestToAlive int64  `json:"request_to_alive_ms,omitempty"` // until the guest gave a sign of life; 0: none was seen
	RequestToWhole int64  `json:"request_to_whole_ms,omitempty"`
	SHA256         string `json:"sha256,omitempty"` // of the source, if it was ordered
}

const (
	// BootRate bounds the copy of a disk, in bytes a second, until the guest that boots
	// from it has given a sign of life: whatever the way to the source carries is for
	// what the guest reads to boot. QEMU knows no less that is not without bound.
	BootRate = 1
	// aliveWithin is how long that sign may take.
	aliveWithin = 2 * time.Minute

	fillLook  = 500 * time.Millisecond // between two looks
	fillWrite = 2 * time.Second        // between two writes of how far it is

	unboundRest = 10 * time.Second // at most, between two tries to unbind the copy
)

// requiresOf is what the hosts of a machine must have for its disks.
func requiresOf(m *droveway.Machine) []string {
	if m.Origin() == nil {
		return nil
	}
	return []string{hypervisor.FilledCapability + "=yes"}
}

// MustBeWhole refuses, as Conflict, a machine whose disks are still filled from an
// origin.
func MustBeWhole(m *droveway.Machine) error {
	d := m.Origin()
	if d == nil {
		return nil
	}
	far := "soon"
	if f := m.Status.Filling; f != nil && f.Total > 0 {
		far = fmt.Sprintf("%d %% are here", f.Done*100/f.Total)
		if f.Remaining > 0 {
			far += fmt.Sprintf(", %s to go", (time.Duration(f.Remaining) * time.Millisecond).Round(time.Second))
		}
		if f.Waits != "" {
			far += ", it waits: " + f.Waits
		}
	}
	return droveway.Errorf(droveway.Conflict, "machine %s still fills its disk %s from %s (%s): wait until it is whole", m.Name, d.Name, d.From, far)
}

// filling is the step of a creation that follows the disks until they are whole. The
// machine is free meanwhile: it may be stopped, started and removed, and is started
// again like any other if its instance ends.
type filling struct {
	c       *Controller
	machine droveway.Machine // as it was ordered
	r       *job.Run[creating]
	rate    meter
	written time.Time
	waits   string          // why the disks come no further
	shown   string          // what the machine's record says of it
	removed bool            // the machine is gone
	alive   map[uint64]bool // tokens of instances that somebody waits for, or has
	probes  chan error
}

// fill follows the disks of a machine. It ends only when they are whole, or the
// machine is gone: a source that is away, or is another one for the time being, may
// come back.
func (c *Controller) fill(m droveway.Machine) func(context.Context, *job.Run[creating]) error {
	return func(ctx context.Context, r *job.Run[creating]) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		f := &filling{c: c, machine: m, r: r, alive: map[uint64]bool{}}
		err := f.follow(ctx)
		if err == nil {
			err = f.verify(ctx)
		}
		if err == nil {
			err = f.finish(ctx)
		}
		return err
	}
}

func (f *filling) follow(ctx context.Context) error {
	for {
		whole, err := f.look(ctx)
		if err != nil && !f.removed {
			f.isHeld(ctx, err.Error())
		}
		if err != nil {
			return err
		}
		if whole {
			return nil // what the checksum may wait for is yet to be seen
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(fillLook):
		}
	}
}

// look looks once how far the disks are.
func (f *filling) look(ctx context.Context) (whole bool, err error) {
	m, _, err := f.c.cfg.Fleet.Machines.Get(ctx, f.machine.Name)
	if droveway.Is(err, droveway.NotFound) || err == nil && fleet.UUID(&m) != f.r.State.UUID {
		return false, f.gone()
	}
	if err != nil || m.Origin() == nil {
		return err == nil, err
	}
	h, err := f.c.cfg.Hosts.Hydration(ctx, m.Status.Host, ref(&m))
	if err != nil {
		return false, err
	}
	if len(h.Lacks) == 0 {
		return f.there(ctx, &m)
	}
	if h.Instance == hypervisor.Running {
		f.wake(ctx, &m)
	}
	if err := f.reason(ctx, &h); err != nil {
		return false, err
	}
	return false, f.tellProgress(ctx, &m, &h)
}

// there makes sure that the host lacks nothing because it has all, and not because
// it has nothing.
func (f *filling) there(ctx context.Context, m *droveway.Machine) (bool, error) {
	o, err := f.c.cfg.Hosts.Show(ctx, m.Status.Host, m.Name)
	if err == nil && o.Role != host.RoleHome && o.Role != host.RoleIdle {
		err = droveway.Errorf(droveway.Unavailable, "host %s has machine %s as %s: its disk is not there", m.Status.Host, m.Name, o.Role)
	}
	return err == nil, err
}

// gone ends the job of a machine that was removed before it was whole.
func (f *filling) gone() error {
	if err := f.forget(); err != nil {
		return err
	}
	f.removed = true
	return job.Fail(droveway.Errorf(droveway.Conflict, "machine %s was removed before its disk was whole", f.machine.Name))
}

// forget removes the origins.
func (f *filling) forget() error {
	for _, d := range f.machine.Spec.Disks {
		if d.Origin == "" {
			continue
		}
		if err := f.c.cfg.Origins.Remove(d.Origin); err != nil {
			return err
		}
	}
	return nil
}

// wake waits, once for each instance, for a sign of life of its guest, and then lets
// the copy take what it can.
func (f *filling) wake(ctx context.Context, m *droveway.Machine) {
	if f.alive[m.Status.Token] {
		return
	}
	f.alive[m.Status.Token] = true
	if f.probes == nil {
		f.probes = make(chan error, 1)
	}
	on, who := m.Status.Host, ref(m)
	go func() {
		_, err := f.c.cfg.Hosts.Probe(ctx, on, host.Probe{Ref: who, Within: aliveWithin, Boots: true})
		if ctx.Err() != nil {
			return
		}
		select {
		case f.probes <- err:
		default:
		}
		f.r.Log.Info("the copy of the disks takes what it can from here on", "machine", who.Machine, "signs of life", err == nil, "error", err)
		f.unbound(ctx, on, who)
	}()
}

// unbound lets the copy take what it can, however often that has to be tried: at its
// first rate it would never end. Of an instance that is there no more, or whose host
// has a later one, it has to be tried no longer.
func (f *filling) unbound(ctx context.Context, on string, who host.Ref) {
	for pause := fillLook; ; pause = min(2*pause, unboundRest) {
		_, err := f.c.cfg.Hosts.Rate(ctx, on, host.Rate{Ref: who})
		if err == nil || ctx.Err() != nil {
			return
		}
		kind := droveway.KindOf(err)
		again := kind == droveway.Unavailable || kind == droveway.Internal
		f.r.Log.Warn("the copy keeps to its first rate", "machine", who.Machine, "tried again", again, "error", err)
		if !again {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// noteAlive keeps when the guest gave its first sign of life.
func (f *filling) noteAlive(ctx context.Context) error {
	select {
	case err := <-f.probes:
		if err != nil || f.r.State.Alive != 0 {
			return nil
		}
		f.r.State.Alive = time.Now().UnixMilli()
		f.result()
		return f.r.Save(ctx)
	default:
		return nil
	}
}

// result tells what is known so far.
func (f *filling) result() {
	s := f.r.State
	s.Result.From = f.from()
	if s.Alive != 0 {
		s.Result.RequestToAlive = s.Alive - f.r.Submitted().UnixMilli()
	}
	_ = f.r.Result(s.Result) // cannot fail: strings and numbers
}

func (f *filling) from() string {
	for _, d := range f.machine.Spec.Disks {
		if d.Origin == "" {
			continue
		}
		if o, err := f.c.cfg.Origins.Get(d.Origin); err == nil {
			return o.Source.Location
		}
	}
	return f.r.State.Result.From
}

// reason finds out whether something holds the disks up.
func (f *filling) reason(ctx context.Context, h *host.Hydration) error {
	why := ""
	for _, d := range f.machine.Spec.Disks {
		if d.Origin == "" {
			continue
		}
		o, err := f.c.cfg.Origins.Get(d.Origin)
		if err != nil {
			return droveway.Errorf(droveway.Internal, "what disk %s is filled from: %w", d.Name, err)
		}
		if o.Waits != "" {
			why = o.Waits
		}
	}
	if why == "" && (h.Paused || h.Instance == hypervisor.Stuck) {
		why = "its host gets nothing from the server, or has no room: " + h.Error
	}
	if why == "" {
		return f.goesOn(ctx)
	}
	f.isHeld(ctx, why)
	return nil
}

// tellProgress tells how far it is, in the job and in the machine's record.
func (f *filling) tellProgress(ctx context.Context, m *droveway.Machine, h *host.Hydration) error {
	if err := f.noteAlive(ctx); err != nil {
		return err
	}
	p := f.progress(m, h)
	f.r.Progress(p)
	if time.Since(f.written) < fillWrite {
		return nil
	}
	f.written = time.Now()
	return f.write(ctx, func(m *droveway.Machine) {
		m.Status.Filling = &droveway.Filling{Progress: p, Job: f.r.Job, Waits: f.waits}
	})
}

// progress leaves the disks out that were whole from the beginning.
func (f *filling) progress(m *droveway.Machine, h *host.Hydration) droveway.Progress {
	p := droveway.Progress{Done: h.Done, Total: h.Total}
	for _, d := range m.Spec.Disks {
		if slices.Contains(h.Lacks, d.Name) {
			continue
		}
		p.Done, p.Total = p.Done-d.SizeMiB<<20, p.Total-d.SizeMiB<<20
	}
	if h.Instance == hypervisor.Gone || p.Done < 0 { // nobody knows how far
		return droveway.Progress{Total: max(p.Total, 0)}
	}
	return f.rate.measure(p)
}

// write changes the record of this machine; if there is none any more the job ends.
func (f *filling) write(ctx context.Context, change func(*droveway.Machine)) error {
	err := f.change(ctx, change)
	if errors.Is(err, errNotHeld) || droveway.Is(err, droveway.NotFound) {
		return f.gone()
	}
	return err
}

// change changes the record of this machine, and of no later one of the name.
func (f *filling) change(ctx context.Context, change func(*droveway.Machine)) error {
	_, err := f.c.cfg.Fleet.Machines.Update(ctx, f.machine.Name, func(m *droveway.Machine) error {
		if fleet.UUID(m) != f.r.State.UUID {
			return errNotHeld
		}
		change(m)
		return nil
	})
	return err
}
