package mem

import (
	"context"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// move is the way of memory into or out of an instance.
type move struct {
	server *server          // target: waits for memory
	met    bool             // target: the source has connected
	peer   *peer            // source: the way to the target
	back   hypervisor.State // source: what the guest returns to if nothing comes of it
	err    string           // source: why nothing came of it
}

// Receive listens for memory.
func (i *Instance) Receive(ctx context.Context, listen string) (string, error) {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Receive")
	if err != nil {
		return "", err
	}
	if s != hypervisor.Incoming {
		return "", i.conflict("Receive", s)
	}
	if i.move.server == nil {
		srv, err := serve(ctx, listen, i.arrive, i.severed)
		if err != nil {
			return "", droveway.Errorf(droveway.Unavailable, "wait for memory of machine %s: %w", i.spec.Machine, err)
		}
		i.mu.Lock()
		i.move.server = srv
		i.mu.Unlock()
	}
	return i.move.server.address(), nil
}

// arrive takes what the source sends.
func (i *Instance) arrive(r request) response {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.state != hypervisor.Incoming:
		return response{Err: "the target is " + string(i.state)}
	case r.Name != i.spec.Machine:
		return response{Err: "the target waits for the memory of " + i.spec.Machine}
	case r.Op == "hello":
		i.move.met = true
	case r.Op == "memory" && i.move.met:
		i.counter, i.state = r.Counter, hypervisor.Received
		i.wake()
	}
	return response{}
}

// severed ends a target whose source went away half way, since half a memory is
// worth nothing.
func (i *Instance) severed() {
	i.mu.Lock()
	half := i.state == hypervisor.Incoming && i.move.met
	i.mu.Unlock()
	if half {
		i.Kill()
	}
}

// Send begins to send memory.
func (i *Instance) Send(_ context.Context, to, _ string, _ int64) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Send")
	if err != nil {
		return err
	}
	switch s {
	case hypervisor.Sending, hypervisor.Held, hypervisor.Sent:
		return nil
	case hypervisor.Running, hypervisor.Paused:
		i.mu.Lock()
		i.move.back, i.move.err = s, ""
		i.mu.Unlock()
		i.become(hypervisor.Sending)
		go i.transfer(to)
		return nil
	}
	return i.conflict("Send", s)
}

func (i *Instance) transfer(to string) {
	p, err := dial(i.end, to)
	if err == nil {
		_, err = p.ask(request{Op: "hello", Name: i.spec.Machine})
	}
	i.verbs.Lock()
	defer i.verbs.Unlock()
	if i.now() != hypervisor.Sending { // cancelled, or gone
		if p != nil {
			p.close()
		}
		return
	}
	i.mu.Lock()
	i.move.peer = p
	i.mu.Unlock()
	if err != nil {
		i.giveUp(err)
		return
	}
	i.become(hypervisor.Held)
	i.still()
}

// giveUp lets the guest go on after a move that came to nothing.
func (i *Instance) giveUp(err error) {
	i.dropMove()
	i.mu.Lock()
	i.move.err = err.Error()
	back := i.move.back
	i.mu.Unlock()
	i.become(back)
}

func (i *Instance) dropMove() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.move.peer != nil {
		i.move.peer.close()
		i.move.peer = nil
	}
	if i.move.server != nil {
		i.move.server.close()
	}
}

// Sent tells how far Send is.
func (i *Instance) Sent(context.Context) (hypervisor.MemoryProgress, error) {
	if err := i.driver.fault("Sent"); err != nil {
		return hypervisor.MemoryProgress{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	total := i.spec.MemoryMiB << 20
	p := hypervisor.MemoryProgress{State: i.state, Error: i.move.err, Total: total, Iterations: 1}
	switch i.state {
	case hypervisor.Gone:
		return p, droveway.Errorf(droveway.NotFound, "machine %s runs here no more", i.spec.Machine)
	case hypervisor.Sending:
		p.Remaining = total
	case hypervisor.Held, hypervisor.Sent:
	default:
		p.State = hypervisor.Running
	}
	return p, nil
}

// Cancel ends a Send.
func (i *Instance) Cancel(context.Context) error {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Cancel")
	if err != nil {
		return err
	}
	switch s {
	case hypervisor.Sent, hypervisor.Incoming, hypervisor.Received:
		return i.conflict("Cancel", s)
	case hypervisor.Sending, hypervisor.Held:
		i.dropMove()
		i.mu.Lock()
		back := i.move.back
		i.mu.Unlock()
		i.become(back)
	}
	return nil
}

// Handover completes a held Send.
func (i *Instance) Handover(context.Context) (time.Duration, error) {
	i.verbs.Lock()
	defer i.verbs.Unlock()
	s, err := i.step("Handover")
	if err != nil {
		return 0, err
	}
	switch s {
	case hypervisor.Sent:
		return 0, nil
	case hypervisor.Held:
		return 0, i.handOver()
	}
	return 0, i.conflict("Handover", s)
}

func (i *Instance) handOver() error {
	i.mu.Lock()
	peer, counter := i.move.peer, i.counter
	i.mu.Unlock()
	i.closeDisks()
	_, err := peer.ask(request{Op: "memory", Name: i.spec.Machine, Counter: counter})
	if err == nil {
		i.become(hypervisor.Sent)
		i.dropMove()
		return nil
	}
	if oerr := i.open(); oerr != nil {
		i.Kill()
		return oerr
	}
	i.giveUp(err)
	return droveway.Errorf(droveway.Unavailable, "hand over machine %s: %w", i.spec.Machine, err)
}
