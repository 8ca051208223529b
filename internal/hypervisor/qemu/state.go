package qemu

import (
	"context"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// runState is QEMU's own word for its state (RunState in qapi/run-state.json).
func (i *Instance) runState(ctx context.Context) (string, error) {
	var st struct{ Status string }
	err := i.execute(ctx, "query-status", nil, &st)
	return st.Status, err
}

// State asks QEMU.
func (i *Instance) State(ctx context.Context) (hypervisor.State, error) {
	s, err := i.state(ctx)
	if droveway.Is(err, droveway.NotFound) || i.proc.ended() {
		return hypervisor.Gone, nil
	}
	return s, err
}

func (i *Instance) state(ctx context.Context) (hypervisor.State, error) {
	if i.proc.ended() {
		return hypervisor.Gone, nil
	}
	run, err := i.runState(ctx)
	if err != nil {
		return "", err
	}
	m, err := i.migration(ctx)
	if err != nil {
		return "", err
	}
	switch run {
	case "inmigrate":
		return hypervisor.Incoming, nil
	case "io-error":
		return i.stuckOrReceived(ctx)
	case "internal-error", "guest-panicked":
		return i.receivedOr(ctx, hypervisor.Crashed)
	case "finish-migrate", "postmigrate":
		if s := m.standing(run); s != hypervisor.Paused {
			return s, nil
		}
		return i.pausedOrStuck(ctx)
	}
	switch {
	case m.active():
		return hypervisor.Sending, nil
	case run == "running":
		return hypervisor.Running, nil
	}
	return i.pausedOrReceived(ctx)
}

// pausedOrStuck tells a guest that was paused when it was to be sent from one whose
// disk had failed. A migration that does not come about leaves both in the same state
// (QEMU before 8.2), and only the latter is to go on by itself.
func (i *Instance) pausedOrStuck(ctx context.Context) (hypervisor.State, error) {
	var all []struct {
		IOStatus string `json:"io-status"` // until it goes on
	}
	if err := i.execute(ctx, "query-block", nil, &all); err != nil {
		return "", err
	}
	for _, b := range all {
		if b.IOStatus != "" && b.IOStatus != "ok" {
			return hypervisor.Stuck, nil
		}
	}
	return hypervisor.Paused, nil
}

func (i *Instance) pausedOrReceived(ctx context.Context) (hypervisor.State, error) {
	return i.receivedOr(ctx, hypervisor.Paused)
}

// stuckOrReceived tells a guest whose disk fails here from one that brought that
// state along: it left a disk that failed, and has a new one.
func (i *Instance) stuckOrReceived(ctx context.Context) (hypervisor.State, error) {
	return i.receivedOr(ctx, hypervisor.Stuck)
}

// receivedOr looks for placeholders, which are there until the guest has run.
func (i *Instance) receivedOr(ctx context.Context, other hypervisor.State) (hypervisor.State, error) {
	if !i.h.Spec.Waits() {
		return other, nil
	}
	nodes, err := i.nodes(ctx)
	if err != nil {
		return "", err
	}
	for n := range i.h.Spec.Disks {
		if slices.Contains(nodes, blankNode(n)) {
			return hypervisor.Received, nil
		}
	}
	return other, nil
}

// must fails with Conflict unless the instance is in one of the states.
func (i *Instance) must(ctx context.Context, states ...hypervisor.State) (hypervisor.State, error) {
	s, err := i.state(ctx)
	switch {
	case err != nil:
		return s, err
	case slices.Contains(states, s):
		return s, nil
	case s == hypervisor.Gone:
		return s, droveway.Errorf(droveway.NotFound, "it runs here no more")
	}
	return s, droveway.Errorf(droveway.Conflict, "its instance is %s", s)
}

// Pause holds the guest still.
func (i *Instance) Pause(ctx context.Context) error {
	return i.exclusive(ctx, "pause", func() error {
		if _, err := i.must(ctx, hypervisor.Running, hypervisor.Paused, hypervisor.Stuck); err != nil {
			return err
		}
		return i.execute(ctx, "stop", nil, nil)
	})
}

// Resume lets a paused or stuck guest go on, and copies that an error holds up,
// those of a crashed guest too.
func (i *Instance) Resume(ctx context.Context) error {
	return i.exclusive(ctx, "resume", func() error {
		s, err := i.must(ctx, hypervisor.Running, hypervisor.Paused, hypervisor.Stuck, hypervisor.Crashed, hypervisor.Sending)
		if err != nil || s == hypervisor.Sending {
			return err
		}
		if err := i.resumeCopies(ctx); err != nil {
			return err
		}
		if s == hypervisor.Running || s == hypervisor.Crashed {
			return nil
		}
		return i.execute(ctx, "cont", nil, nil)
	})
}

// quitWithin is how long QEMU may take to close its disks. One whose origin does
// not answer takes for ever, and has nothing to lose: the origin has all.
const quitWithin = 5 * time.Second

// Stop ends the guest.
func (i *Instance) Stop(ctx context.Context, grace time.Duration) error {
	if err := i.stop(ctx, grace); err != nil {
		return i.about("stop", err)
	}
	i.clear()
	return nil
}

func (i *Instance) stop(ctx context.Context, grace time.Duration) error {
	if i.proc.ended() || grace > 0 && i.powerDown(ctx, grace) {
		return nil
	}
	if ctx.Err() != nil {
		return i.unavailable(context.Cause(ctx)) // the guest had less than its grace
	}
	return i.endProcess(ctx)
}

// endProcess ends the process in order, or else by force.
func (m *monitor) endProcess(ctx context.Context) error {
	soft, cancel := context.WithTimeout(ctx, quitWithin)
	defer cancel()
	if m.quit(soft) {
		return nil
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWithin)
	defer cancel()
	return m.proc.kill(hard)
}

// powerDown presses the guest's power button and waits for it to obey.
func (i *Instance) powerDown(ctx context.Context, grace time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if s, err := i.state(ctx); err != nil || s != hypervisor.Running {
		return false
	}
	if err := i.execute(ctx, "system_powerdown", nil, nil); err != nil {
		return false
	}
	return i.proc.wait(ctx)
}
