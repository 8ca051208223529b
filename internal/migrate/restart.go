package migrate

import (
	"context"
	"encoding/json"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/machine"
)

// RestartKind is the kind of the job of a quick restart (US11461109): the
// machine goes on, or boots, on a second host that was made ready before the first
// let go of it.
const RestartKind = "machine-restart"

// Mode is what a restart does to the guest.
type Mode string

// The modes.
const (
	Refresh Mode = "refresh"  // goes on with its memory, in a new instance on another host
	Reboot  Mode = "reboot"   // boots anew on another host
	InPlace Mode = "in-place" // boots anew where it is: no other host has room
)

const (
	graceDefault = 30 * time.Second // for the guest to power down
	probeDefault = 3 * time.Minute  // for the guest to give a sign of life
)

// RestartRequest is a restart that somebody wants.
type RestartRequest struct {
	Machine string        `json:"machine"`
	To      string        `json:"to,omitempty"`     // empty: the fleet chooses
	Mode    Mode          `json:"mode,omitempty"`   // Refresh or Reboot; empty: Reboot
	Grace   time.Duration `json:"grace,omitempty"`  // 0: 30 s
	Within  time.Duration `json:"within,omitempty"` // for a sign of life; 0: 3 min
	Rate    int64         `json:"rate,omitempty"`   // of the copy, bytes a second; 0: no limit
}

func (r *RestartRequest) complete() error {
	if r.Mode == "" {
		r.Mode = Reboot
	}
	if r.Mode != Reboot && r.Mode != Refresh {
		return droveway.Errorf(droveway.Invalid, "restart mode %q: use %s or %s", r.Mode, Reboot, Refresh)
	}
	if err := validRate(r.Rate); err != nil {
		return err
	}
	if r.Grace < 0 || r.Within < 0 {
		return droveway.Errorf(droveway.Invalid, "restart: a grace of %s and a wait of %s: give 0 or more", r.Grace, r.Within)
	}
	if r.Grace == 0 {
		r.Grace = graceDefault
	}
	if r.Within == 0 {
		r.Within = probeDefault
	}
	return nil
}

// RestartPlan is what a restart would do.
type RestartPlan struct {
	Machine string            `json:"machine"`
	Mode    Mode              `json:"mode"`
	From    string            `json:"from"`
	To      string            `json:"to"`
	WhyNot  map[string]string `json:"why_not,omitempty"`
	Steps   []string          `json:"steps"`
}

// PlanRestart checks a restart and says what it would do.
func (m *Moves) PlanRestart(ctx context.Context, r RestartRequest) (RestartPlan, error) {
	if err := r.complete(); err != nil {
		return RestartPlan{}, err
	}
	mc, _, err := m.cfg.Fleet.Machines.Get(ctx, r.Machine)
	if err != nil {
		return RestartPlan{}, err
	}
	to, whyNot, err := m.second(ctx, &mc, r)
	if err != nil {
		return RestartPlan{}, err
	}
	if err := movable(&mc); err != nil {
		return RestartPlan{}, err
	}
	p := RestartPlan{Machine: mc.Name, Mode: r.Mode, From: mc.Status.Host, To: to, WhyNot: whyNot}
	if to == mc.Status.Host {
		p.Mode = InPlace
	}
	for _, s := range m.restartSteps(r) {
		p.Steps = append(p.Steps, s.Name)
	}
	return p, nil
}

// second finds the host for a restart. Without one with room a reboot happens in
// place, unless the host was named.
func (m *Moves) second(ctx context.Context, mc *droveway.Machine, r RestartRequest) (string, map[string]string, error) {
	to, whyNot, err := m.target(ctx, mc, r.To, r.Mode == Refresh)
	noRoom := droveway.Is(err, droveway.Unavailable) || droveway.Is(err, droveway.Unsupported)
	if noRoom && r.To == "" && r.Mode == Reboot {
		return mc.Status.Host, whyNot, nil
	}
	return to, whyNot, err
}

// Restart submits a restart. The same request identifier gives the same job.
func (m *Moves) Restart(ctx context.Context, r RestartRequest, requestID string) (droveway.Job, error) {
	if j, ok, err := m.cfg.Jobs.Find(ctx, RestartKind, "machine/"+r.Machine, requestID); err != nil || ok {
		return j, err
	}
	if err := r.complete(); err != nil {
		return droveway.Job{}, err
	}
	if _, err := m.PlanRestart(ctx, r); err != nil {
		return droveway.Job{}, err
	}
	return m.cfg.Jobs.Submit(ctx, RestartKind, "machine/"+r.Machine, r, job.SubmitOptions{RequestID: requestID})
}

func (m *Moves) defineRestart(args json.RawMessage) ([]job.Step[state], error) {
	var r RestartRequest
	if err := json.Unmarshal(args, &r); err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "arguments of a restart: %w", err)
	}
	return m.restartSteps(r), nil
}

// restartSteps are a move's, with the guest's sign of life after the switchover.
// A refresh is a move; in a reboot the guest is stopped where a move would hand
// over its memory. In place the steps that are about two hosts do nothing.
func (m *Moves) restartSteps(r RestartRequest) []job.Step[state] {
	choose := func(ctx context.Context, mc *droveway.Machine) (string, error) {
		to, _, err := m.second(ctx, mc, r)
		return to, err
	}
	steps := []job.Step[state]{
		{Name: "claim", Do: m.claim(r.Machine, choose), Undo: m.unclaim(r.Machine)},
		{Name: "reserve", Do: elsewhere(m.reserve(r.Mode == Reboot)), Undo: elsewhere(m.discard)},
		{Name: "prepare", Do: elsewhere(m.prepare), Undo: elsewhere(m.unprepare)},
	}
	if r.Mode == Refresh {
		steps = append(steps,
			job.Step[state]{Name: "memory", Do: m.memory(false), Undo: m.unprepare},
			job.Step[state]{Name: "switchover", Do: m.loud(timed(m.switchover)), Point: true})
	} else {
		steps = append(steps, job.Step[state]{Name: "switchover", Do: m.loud(timed(m.reboot(r))), Point: true})
	}
	return append(steps,
		job.Step[state]{Name: "verify", Do: m.loud(m.verify(r))},
		job.Step[state]{Name: "hydrate", Do: m.loud(elsewhere(m.hydrate))},
		job.Step[state]{Name: "prove", Do: m.loud(elsewhere(m.prove))},
		job.Step[state]{Name: "release", Do: m.loud(m.release)})
}

// elsewhere is a step that is about two hosts.
func elsewhere(do func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		if r.State.From == r.State.To {
			return nil
		}
		return do(ctx, r)
	}
}

// timed notes when the guest begins to be away.
func timed(do func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		if r.State.Away == 0 {
			r.State.Away = time.Now().UnixMilli()
			if err := r.Save(ctx); err != nil {
				return err
			}
		}
		return do(ctx, r)
	}
}

// reboot stops the guest on the first host and lets it boot on the second.
func (m *Moves) reboot(req RestartRequest) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		s := r.State
		if s.From == s.To {
			return m.bootInPlace(ctx, r, req.Grace)
		}
		target, err := m.cfg.Hosts.Show(ctx, s.To, s.Target.Machine)
		if err != nil {
			return m.targetSilent(ctx, r, err)
		}
		if target.Role == host.RoleArriving {
			if gone(target) {
				return m.notPrepared(ctx, r)
			}
			e, err := m.cfg.Hosts.Leave(ctx, s.From, host.Stop{Ref: s.source(), Grace: req.Grace})
			if err != nil {
				return err
			}
			s.Disks, s.vars = e.Address, e.Vars
		}
		return m.takeOver(ctx, r, machine.BootRate)
	}
}

// notPrepared is a second host whose instance died before the first host's guest
// was touched; or after it, if an earlier attempt got that far.
func (m *Moves) notPrepared(ctx context.Context, r *run) error {
	o, err := m.cfg.Hosts.Show(ctx, r.State.From, r.State.Source.Machine)
	if err != nil {
		return err
	}
	if o.Role == host.RoleSecondary {
		return m.comeBack(ctx, r, "the second host's instance died before the guest could boot in it")
	}
	return job.Permanent(droveway.Errorf(droveway.Unavailable, "the instance on host %s died: the guest on host %s was not touched", r.State.To, r.State.From))
}

func (m *Moves) bootInPlace(ctx context.Context, r *run, grace time.Duration) error {
	s := r.State
	o, err := m.cfg.Hosts.Show(ctx, s.From, s.Source.Machine)
	if err != nil {
		return err
	}
	if o.Token < s.Target.Token {
		if _, err := m.cfg.Hosts.Stop(ctx, s.From, host.Stop{Ref: s.source(), Grace: grace}); err != nil {
			return err
		}
	}
	if _, err := m.cfg.Hosts.Start(ctx, s.From, s.Target); err != nil {
		return err
	}
	live(r, s.From, "it was started anew in place: no other host has room")
	return m.settleOn(ctx, s.Target.Machine, s.From, s.Target.Token, "")
}

// verify waits for the guest's sign of life, and only then confirms the restart.
// If there is none, the guest boots on the first host again, whose disks are
// current.
func (m *Moves) verify(req RestartRequest) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		s := r.State
		_, err := m.cfg.Hosts.Probe(ctx, s.To, host.Probe{Ref: s.target(), Within: req.Within, Boots: req.Mode == Reboot})
		switch {
		case droveway.Is(err, droveway.Conflict) && s.From == s.To:
			if err := m.release(ctx, r); err != nil {
				return err
			}
			return job.Fail(err)
		case droveway.Is(err, droveway.Conflict):
			return m.comeBack(ctx, r, "the guest gave no sign of life on the second host")
		case err != nil:
			return m.unlessLost(ctx, r, err)
		}
		return m.confirm(ctx, r, req.Mode)
	}
}

func (m *Moves) confirm(ctx context.Context, r *run, mode Mode) error {
	s := r.State
	if s.From == s.To {
		mode = InPlace
	}
	s.Result.Mode, s.Result.Downtime = mode, time.Now().UnixMilli()-s.Away
	s.Result.Confirmed = time.Now().UTC()
	if err := r.Result(s.Result); err != nil {
		return err
	}
	b, err := json.Marshal(s.Result)
	if err != nil {
		return err
	}
	// The identifier makes it one event, however often the step is repeated.
	return m.cfg.Events.Publish(ctx, droveway.Event{
		ID: r.Job + "-confirmed", Type: "machine.restarted", Subject: "machine/" + s.Source.Machine, Source: "server", Data: b,
	})
}
