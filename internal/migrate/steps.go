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
	return []job.Step[state]{
		{Name: "claim", Do: m.claim(req), Undo: m.unclaim(req)},
		{Name: "reserve", Do: m.reserve, Undo: m.discard},
		{Name: "prepare", Do: m.prepare, Undo: m.unprepare},
		{Name: "memory", Do: m.memory(req), Undo: m.unprepare},
		{Name: "switchover", Do: m.switchover(req), Point: true},
		{Name: "hydrate", Do: m.turning(m.hydrate), Turns: true},
		{Name: "prove", Do: m.turning(m.prove), Turns: true},
		{Name: "release", Do: m.release},
	}
}

// claim makes the machine this job's own, and decides where it goes.
func (m *Moves) claim(req Request) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		mc, err := machine.Claim(ctx, m.cfg.Fleet, req.Machine, r.Job)
		if err != nil {
			return err
		}
		s := r.State
		if s.From != "" {
			return nil // a repetition
		}
		to, _, err := m.target(ctx, &mc, req.To)
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

func (m *Moves) unclaim(req Request) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		return machine.Unclaim(ctx, m.cfg.Fleet, req.Machine, r.Job)
	}
}

// reserve checks that the guest runs where it should and makes room on the
// target.
func (m *Moves) reserve(ctx context.Context, r *run) error {
	s := r.State
	o, err := m.cfg.Hosts.Show(ctx, s.From, s.Source.Machine)
	if err != nil {
		return err
	}
	if o.Role != host.RoleHome || o.Instance != hypervisor.Running {
		return job.Permanent(droveway.Errorf(droveway.Conflict, "machine %s is %s and its guest %s on host %s: only a running guest moves live", s.Source.Machine, o.Role, o.Instance, s.From))
	}
	res, err := m.cfg.Hosts.Reserve(ctx, s.To, host.Reserve{Instance: s.Target, Peer: s.From})
	if err != nil {
		return err
	}
	s.Memory = res.Address
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

// memory sends the guest's memory until only the last of it remains, which is
// held back.
func (m *Moves) memory(req Request) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		s := r.State
		if _, err := m.cfg.Hosts.Send(ctx, s.From, host.Send{Ref: s.source(), To: s.Memory, Peer: s.To}); err != nil {
			return err
		}
		for {
			p, err := m.cfg.Hosts.Await(ctx, s.From, s.source())
			if err != nil {
				return err
			}
			switch p.State {
			case hypervisor.Held, hypervisor.Sent:
				return nil
			case hypervisor.Sending:
				r.Progress(droveway.Progress{Done: p.Total - p.Remaining, Total: p.Total, Rate: p.Rate, Remaining: remaining(p.Remaining, p.Rate)})
			default:
				return job.Permanent(droveway.Errorf(droveway.Unavailable, "the memory of machine %s did not reach host %s: %s", req.Machine, s.To, p.Error))
			}
		}
	}
}

func remaining(left, rate int64) int64 {
	if rate <= 0 {
		return 0
	}
	return left * 1000 / rate
}

// switchover ends the guest on the source and lets it run on the target. What
// was done before an interruption it finds out from the hosts.
func (m *Moves) switchover(req Request) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		s := r.State
		e, err := m.handover(ctx, r)
		if err != nil {
			return err
		}
		if e.Address != "" {
			s.Disks, s.Result.QEMUDowntime = e.Address, max(s.Result.QEMUDowntime, e.Downtime.Milliseconds())
		}
		o, err := m.cfg.Hosts.TakeOver(ctx, s.To, host.TakeOver{Ref: s.target(), Address: s.Disks, Peer: s.From, Rate: req.Rate})
		if droveway.Is(err, droveway.Conflict) {
			return m.comeBack(ctx, r, "the target's instance died at the switchover")
		}
		if err != nil {
			return m.unlessLost(ctx, r, err)
		}
		s.Switched = o.At.UnixMilli()
		s.Result.RequestToRunning = time.Now().UnixMilli() - s.Begun
		live(r, s.To, "the guest runs there; host %s keeps a current copy of its disks", s.From)
		return m.settleOn(ctx, s.Target.Machine, s.To, s.Target.Token)
	}
}

// handover gets the source's word that the guest does not run there any more.
// If the guest is not to be had over, it says why, and the source goes on.
func (m *Moves) handover(ctx context.Context, r *run) (host.Exported, error) {
	s := r.State
	target, err := m.cfg.Hosts.Show(ctx, s.To, s.Target.Machine)
	if err != nil {
		return host.Exported{}, m.targetSilent(ctx, r, err)
	}
	if target.Role == host.RoleHydrating || target.Role == host.RoleHome {
		return host.Exported{}, nil // it has taken over
	}
	received := target.Instance == hypervisor.Received
	e, err := m.cfg.Hosts.Handover(ctx, s.From, host.Handover{Ref: s.source(), Received: received})
	if err == nil || droveway.Is(err, droveway.Unavailable) {
		return e, err
	}
	return m.notHandedOver(ctx, r, err)
}

// targetSilent is what a target means that does not answer before the handover
// is known to be done. If it is lost and the guest has not left, the guest stays.
func (m *Moves) targetSilent(ctx context.Context, r *run, cause error) error {
	if !droveway.Is(cause, droveway.Unavailable) || !m.lost(ctx, r.State.To) {
		return cause
	}
	o, err := m.cfg.Hosts.Show(ctx, r.State.From, r.State.Source.Machine)
	if err != nil {
		return err
	}
	if o.Role == host.RoleSecondary || o.Instance == hypervisor.Sent {
		return m.comeBack(ctx, r, "the target was taken out of the fleet as lost at the switchover")
	}
	return job.Permanent(droveway.Errorf(droveway.Conflict, "host %s was taken out of the fleet as lost: the guest stays on host %s", r.State.To, r.State.From))
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

// settleOn writes down where the machine is.
func (m *Moves) settleOn(ctx context.Context, name, host string, token uint64) error {
	_, err := m.cfg.Fleet.Machines.Update(ctx, name, func(mc *droveway.Machine) error {
		mc.Status.Host, mc.Status.Token, mc.Status.State = host, token, droveway.MachineRunning
		return nil
	})
	return err
}
