package mem

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Tick, in Extra of a Spec, makes the guest count: see program.
const Tick = "tick"

// Instance is a guest.
type Instance struct {
	driver *Driver
	id     string
	spec   hypervisor.Spec
	disks  []*disk
	end    context.Context // ends with the instance
	stop   context.CancelFunc

	verbs sync.Mutex // one change of state at a time

	mu      sync.Mutex
	state   hypervisor.State
	changed chan struct{}
	counter uint64 // all the memory that the guest has
	console *os.File
	move    move
}

func newInstance(d *Driver, id string, spec hypervisor.Spec) (*Instance, error) {
	tick, err := options(spec)
	if err != nil {
		return nil, err
	}
	i := &Instance{driver: d, id: id, spec: spec, state: hypervisor.Incoming, changed: make(chan struct{})}
	for _, s := range spec.Disks {
		i.disks = append(i.disks, &disk{spec: s})
	}
	i.console, err = os.OpenFile(i.Console(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, droveway.Errorf(droveway.NotFound, "console of machine %s: %w", spec.Machine, err)
	}
	if spec.Standing {
		i.state = hypervisor.Received
	}
	if !spec.Waits() {
		if err := i.open(); err != nil {
			i.console.Close()
			os.Remove(i.Console())
			return nil, err
		}
		i.state = hypervisor.Running
	}
	i.end, i.stop = context.WithCancel(context.Background())
	if tick {
		go i.program()
	}
	return i, nil
}

func options(spec hypervisor.Spec) (tick bool, err error) {
	for _, o := range spec.Extra {
		if o != Tick {
			return false, droveway.Errorf(droveway.Invalid, "start machine %s: there is no option %q", spec.Machine, o)
		}
		tick = true
	}
	return tick, nil
}

// open opens all disks or none.
func (i *Instance) open() error {
	for _, d := range i.disks {
		if err := d.open(); err != nil {
			i.closeDisks()
			return err
		}
	}
	return nil
}

func (i *Instance) closeDisks() {
	for _, d := range i.disks {
		d.close()
	}
}

// Handle is what Attach takes.
func (i *Instance) Handle() hypervisor.Handle { return encode(i.id) }

// PID is 0: the guest has no process.
func (i *Instance) PID() int { return 0 }

// Console is the path of the guest's log.
func (i *Instance) Console() string { return filepath.Join(i.spec.Dir, "console.log") }

// Close does nothing: the guest lives in the driver.
func (i *Instance) Close() error { return nil }

// State is the state of the guest.
func (i *Instance) State(context.Context) (hypervisor.State, error) {
	if err := i.driver.fault("State"); err != nil {
		return "", err
	}
	return i.now(), nil
}

func (i *Instance) now() hypervisor.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Changed is closed at the next change of state.
func (i *Instance) Changed() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

// become changes the state and wakes who waits for that. Gone is for ever.
func (i *Instance) become(s hypervisor.State) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state == hypervisor.Gone {
		return
	}
	i.state = s
	i.wake()
}

// wake is called with the lock held.
func (i *Instance) wake() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// step begins a verb: it fails if a test wants it to, and if the guest is gone.
func (i *Instance) step(verb string) (hypervisor.State, error) {
	if err := i.driver.fault(verb); err != nil {
		return "", err
	}
	s := i.now()
	if s == hypervisor.Gone {
		return s, droveway.Errorf(droveway.NotFound, "%s: machine %s runs here no more", verb, i.spec.Machine)
	}
	return s, nil
}

func (i *Instance) conflict(verb string, s hypervisor.State) error {
	return droveway.Errorf(droveway.Conflict, "%s: the instance of machine %s is %s", verb, i.spec.Machine, s)
}

// Resume lets a paused or stuck guest go on.
func (i *Instance) Resume(context.Context) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Resume")
	if err != nil {
		return err
	}
	for _, d := range i.disks {
		d.retry()
	}
	switch s {
	case hypervisor.Running:
		return nil
	case hypervisor.Paused, hypervisor.Stuck:
		i.become(hypervisor.Running)
		return nil
	}
	return i.conflict("Resume", s)
}

// Pause holds the guest still.
func (i *Instance) Pause(context.Context) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Pause")
	if err != nil {
		return err
	}
	switch s {
	case hypervisor.Running, hypervisor.Stuck, hypervisor.Paused:
		i.become(hypervisor.Paused)
		i.still()
		return nil
	}
	return i.conflict("Pause", s)
}

// still waits for writes of the guest that are under way.
func (i *Instance) still() {
	for _, d := range i.disks {
		d.drain()
	}
}

// Stop ends the guest, which never takes its time.
func (i *Instance) Stop(context.Context, time.Duration) error {
	if err := i.driver.fault("Stop"); err != nil {
		return err
	}
	i.Kill()
	return nil
}

// Kill ends the guest as a crash of its host's hypervisor would.
func (i *Instance) Kill() {
	i.become(hypervisor.Gone)
	i.stop()
	i.dropMove()
	i.closeDisks()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.console.Close()
}
