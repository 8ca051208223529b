package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/machine"
)

func (m *Moves) define(args json.RawMessage) ([]job.Step[state], error) {
	var r Request
	if err := json.Unmarshal(args, &r); err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "arguments of a move: %w", err)
	}
	return m.steps(r), nil
}

func (m *Moves) steps(req Request) []job.Step[state] {
	choose := func(ctx context.Context, mc *droveway.Machine) (string, error) {
		to, _, err := m.target(ctx, mc, req.To, true, req.requires()...)
		return to, err
	}
	return []job.Step[state]{
		{Name: "claim", Do: m.claim(req.Machine, choose), Undo: m.unclaim(req.Machine)},
		{Name: "reserve", Do: m.reserve(false), Undo: m.discard},
		{Name: "prepare", Do: m.prepare, Undo: m.unprepare},
		{Name: "memory", Do: m.memory(req.Instant), Undo: m.unprepare},
		{Name: "switchover", Do: m.loud(reading(hypervisor.Reads(req.Reads), m.switchover)), Point: true},
		{Name: "follow", Do: m.loud(m.follow)},
		{Name: "hydrate", Do: m.loud(m.turning(m.hydrate)), Turns: true},
		{Name: "prove", Do: m.loud(m.turning(m.prove)), Turns: true},
		{Name: "release", Do: m.loud(m.release)},
	}
}

// chooser decides where a machine goes.
type chooser func(context.Context, *droveway.Machine) (host string, err error)

// claim makes the machine this job's own, and decides where it goes.
func (m *Moves) claim(name string, choose chooser) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		mc, err := machine.Claim(ctx, m.cfg.Fleet, name, r.Job)
		if err != nil {
			return err
		}
		s := r.State
		if s.From != "" {
			return nil // a repetition
		}
		to, err := m.reserveRoom(ctx, &mc, choose)
		if err != nil {
			return err
		}
		if s.Source, err = machine.Instance(ctx, m.cfg.Fleet, mc, mc.Status.Token); err != nil {
			return err
		}
		s.Target = s.Source
		s.Target.Token++
		s.From, s.To, s.Begun = mc.Status.Host, to, r.Submitted().UnixMilli()
		s.Result = Result{From: s.From, To: s.To}
		live(r, s.From, "the move has not switched over")
		return nil
	}
}

// reserveRoom chooses a host and notes it, so that of several moves that choose
// at the same time none counts on the room of another.
func (m *Moves) reserveRoom(ctx context.Context, mc *droveway.Machine, choose chooser) (to string, err error) {
	m.placing.Lock()
	defer m.placing.Unlock()
	if to, err = choose(ctx, mc); err != nil {
		return "", err
	}
	_, err = m.cfg.Fleet.Machines.Update(ctx, mc.Name, func(mc *droveway.Machine) error {
		mc.Status.Reserved = to
		return nil
	})
	return to, err
}

func (m *Moves) unclaim(name string) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		return machine.Unclaim(ctx, m.cfg.Fleet, name, r.Job)
	}
}

// reserve checks that the guest runs where it should and makes room on the
// target.
func (m *Moves) reserve(boots bool) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error { return m.reserveOn(ctx, r, boots) }
}

func (m *Moves) reserveOn(ctx context.Context, r *run, boots bool) error {
	s := r.State
	o, err := m.cfg.Hosts.Show(ctx, s.From, s.Source.Machine)
	if err != nil {
		return err
	}
	if o.Role != host.RoleHome || o.Instance != hypervisor.Running {
		return job.Permanent(droveway.Errorf(droveway.Conflict, "machine %s is %s and its guest %s on host %s: only a running guest moves live", s.Source.Machine, o.Role, o.Instance, s.From))
	}
	way := hypervisor.Precopy
	if !boots {
		if way, err = m.way(ctx, r); err != nil {
			return err
		}
	}
	res, err := m.cfg.Hosts.Reserve(ctx, s.To, host.Reserve{Instance: s.Target, Peer: s.From, Boots: boots, Way: way})
	if err != nil {
		return err
	}
	s.Memory, s.Way, s.Postcopy = res.Address, res.Way, res.Way.Follows()
	if err := host.VarsFit(o.Vars, res.Vars); err != nil { // while the guest still runs
		return job.Permanent(droveway.Errorf(droveway.Conflict, "machine %s cannot go from host %s to host %s: %w", s.Source.Machine, s.From, s.To, err))
	}
	return nil
}

func (m *Moves) discard(ctx context.Context, r *run) error {
	if r.State.To == "" {
		return nil
	}
	_, err := m.cfg.Hosts.Discard(ctx, r.State.To, r.State.target())
	if droveway.Is(err, droveway.Unavailable) && m.lost(ctx, r.State.To) {
		return nil
	}
	return err
}

// prepare starts the process that will serve the source's disks, so that this
// costs no time at the switchover.
func (m *Moves) prepare(ctx context.Context, r *run) error {
	e, err := m.cfg.Hosts.Secondary(ctx, r.State.From, host.Secondary{Ref: r.State.source(), Peer: r.State.To})
	r.State.Disks = e.Address
	return err
}

func (m *Moves) unprepare(ctx context.Context, r *run) error {
	_, err := m.cfg.Hosts.Cancel(ctx, r.State.From, r.State.source())
	return err
}

// reading is a step after which the guest may read its disks, from where it wants.
func reading(from hypervisor.Reads, do func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		r.State.Reads = from
		return do(ctx, r)
	}
}

// switchover ends the guest on the source and lets it run on the target. What
// was done before an interruption it finds out from the hosts.
func (m *Moves) switchover(ctx context.Context, r *run) error {
	s := r.State
	e, err := m.handover(ctx, r)
	if err != nil {
		return err
	}
	if e.Address != "" {
		s.Disks, s.Result.QEMUDowntime = e.Address, max(s.Result.QEMUDowntime, e.Downtime.Milliseconds())
	}
	rate, err := wantedRate(r)
	if err != nil {
		return err
	}
	return m.takeOver(ctx, r, atFirst(rate))
}

// takeOver lets the guest run on the target, whose copy begins at a rate, and
// notes that it does.
func (m *Moves) takeOver(ctx context.Context, r *run, rate int64) error {
	s := r.State
	o, err := m.cfg.Hosts.TakeOver(ctx, s.To, host.TakeOver{Ref: s.target(), Address: s.Disks, Peer: s.From, Rate: rate, Reads: s.Reads, Vars: s.vars})
	if droveway.Is(err, droveway.Conflict) {
		return m.comeBack(ctx, r, "the target's instance died at the switchover")
	}
	if err != nil {
		return m.unlessLost(ctx, r, err)
	}
	s.Rate, s.Switched = rate, o.At.UnixMilli()
	now := time.Now().UnixMilli()
	s.Result.RequestToRunning = now - s.Begun
	if s.Hurried == 0 {
		live(r, s.To, "the guest runs there; host %s keeps a current copy of its disks", s.From)
		return m.settleOn(ctx, s.Target.Machine, s.To, s.Target.Token, "")
	}
	s.Result.Memory.SwitchMS = now - s.Hurried
	at := risk(s.Target.Machine, s.From, s.To)
	live(r, s.To, "the guest runs there; %s", at)
	return m.settleOn(ctx, s.Target.Machine, s.To, s.Target.Token, at)
}

// handover gets the source's word that the guest does not run there any more.
// If the guest is not to be had over, it says why, and the source goes on.
func (m *Moves) handover(ctx context.Context, r *run) (host.Exported, error) {
	s := r.State
	received := false
	if !s.waiting { // what became of an earlier attempt the target knows
		target, err := m.cfg.Hosts.Show(ctx, s.To, s.Target.Machine)
		if err != nil {
			return host.Exported{}, m.targetSilent(ctx, r, err)
		}
		if target.Role == host.RoleHydrating || target.Role == host.RoleHome {
			return host.Exported{}, nil // it has taken over
		}
		received = target.Instance == hypervisor.Received
	}
	s.waiting = false
	e, err := m.cfg.Hosts.Handover(ctx, s.From, host.Handover{Ref: s.source(), Received: received})
	if err == nil || droveway.Is(err, droveway.Unavailable) {
		return e, err
	}
	return m.notHandedOver(ctx, r, err)
}

// silentMax is how long a guest that has not left is held up for a target that does not
// answer.
const silentMax = 5 * time.Second

// targetSilent is what a target means that does not answer before the handover
// is known to be done. A guest that has not left stays, if the target is lost or does
// not answer for long: it has stood for long enough. One that has left waits.
func (m *Moves) targetSilent(ctx context.Context, r *run, cause error) error {
	s := r.State
	if !droveway.Is(cause, droveway.Unavailable) {
		return cause
	}
	lost := m.lost(ctx, s.To)
	if since := s.Waits.Since; !lost && (since == 0 || time.Since(time.UnixMilli(since)) < m.silent) {
		return cause
	}
	o, err := m.cfg.Hosts.Show(ctx, s.From, s.Source.Machine)
	switch {
	case err != nil:
		return err
	case o.Role == host.RoleSecondary || o.Instance == hypervisor.Sent:
		if lost {
			return m.comeBack(ctx, r, "the target was taken out of the fleet as lost at the switchover")
		}
		return cause
	case lost:
		return job.Permanent(droveway.Errorf(droveway.Conflict, "host %s was taken out of the fleet as lost: the guest stays on host %s", s.To, s.From))
	case gone(o): // the target may have its memory
		return cause
	}
	return job.Permanent(droveway.Errorf(droveway.Unavailable, "the guest stays on host %s: %w", s.From, cause))
}

// notHandedOver finds out what became of a guest whose handover failed.
func (m *Moves) notHandedOver(ctx context.Context, r *run, cause error) (host.Exported, error) {
	s := r.State
	o, err := m.cfg.Hosts.Show(ctx, s.From, s.Source.Machine)
	if err != nil {
		return host.Exported{}, err
	}
	switch o.Instance {
	case hypervisor.Sent: // it stands; the next attempt goes on from there
		return host.Exported{}, droveway.Errorf(droveway.Unavailable, "serve the disks of the source: %w", cause)
	case hypervisor.Held:
		return host.Exported{}, job.Permanent(fmt.Errorf("the guest could not leave host %s: %w", s.From, cause))
	case hypervisor.Gone:
		if m.arrived(ctx, s) {
			return host.Exported{}, droveway.Errorf(droveway.Unavailable, "the source's instance died at the handover: %w", cause)
		}
		return host.Exported{}, job.Permanent(droveway.Errorf(droveway.Conflict, "the guest died on host %s before it could leave: it boots there anew", s.From))
	default:
		return host.Exported{}, job.Permanent(droveway.Errorf(droveway.Conflict, "the guest stays on host %s: %w", s.From, cause))
	}
}

// arrived reports whether the target has the whole memory.
func (m *Moves) arrived(ctx context.Context, s *state) bool {
	o, err := m.cfg.Hosts.Show(ctx, s.To, s.Target.Machine)
	return err == nil && o.Instance == hypervisor.Received
}

// settleOn writes down where the machine is, and what there is to say of it.
func (m *Moves) settleOn(ctx context.Context, name, host string, token uint64, message string) error {
	_, err := m.cfg.Fleet.Machines.Update(ctx, name, func(mc *droveway.Machine) error {
		mc.Status.Host, mc.Status.Token, mc.Status.State, mc.Status.Message = host, token, droveway.MachineRunning, message
		return nil
	})
	return err
}
