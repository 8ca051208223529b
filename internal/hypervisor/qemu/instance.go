package qemu

import (
	"context"
	"sync/atomic"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Instance is a guest in a QEMU process.
type Instance struct {
	*monitor
	h        handle
	patience int
	verbs    chan struct{} // holds a token while a verb changes the instance
	relaxed  atomic.Bool   // its memory may take longer for the last pass
}

func (d *Driver) instance(h handle, proc *process) *Instance {
	i := &Instance{h: h, patience: d.patience, verbs: make(chan struct{}, 1)}
	i.monitor = newMonitor("the instance", h.file(monitorName), proc, h.remove)
	return i
}

// begin connects to a process that has just been started and lets its guest run,
// unless it is to wait.
func (i *Instance) begin(ctx context.Context) error {
	st, err := i.runState(ctx)
	if err != nil || st != "prelaunch" || i.h.Spec.Waits() {
		return err
	}
	if err := i.openFilled(ctx); err != nil {
		return err
	}
	if err := i.execute(ctx, "cont", nil, nil); err != nil {
		return err
	}
	return i.fillAll(ctx)
}

// exclusive does a verb while no other one is under way, and says which on what
// in its error.
func (i *Instance) exclusive(ctx context.Context, verb string, do func() error) error {
	select {
	case i.verbs <- struct{}{}:
		defer func() { <-i.verbs }()
	case <-ctx.Done():
		return droveway.Errorf(droveway.Unavailable, "%s machine %s: %w", verb, i.h.Spec.Machine, context.Cause(ctx))
	}
	return i.about(verb, do())
}

func (i *Instance) about(verb string, err error) error {
	if err == nil {
		return nil
	}
	return droveway.Errorf(droveway.KindOf(err), "%s machine %s: %w", verb, i.h.Spec.Machine, err)
}

// Handle is what Attach takes.
func (i *Instance) Handle() hypervisor.Handle { return i.h.encode() }

// Console is the path of the log of the guest's serial console.
func (i *Instance) Console() string { return i.h.file(consoleName) }
