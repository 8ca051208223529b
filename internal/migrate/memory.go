package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Memory is how a guest's memory went over.
type Memory struct {
	Way       string `json:"way"`                 // "precopy", "parallel", "compressed", "postcopy", "precopy, postcopy after 5 passes"
	Passes    int64  `json:"passes"`              // over the memory
	Bytes     int64  `json:"bytes"`               // that were sent
	LinkRate  int64  `json:"link_rate"`           // bytes a second, as measured
	DirtyRate int64  `json:"dirty_rate"`          // bytes a second that the guest changed
	SetupMS   int64  `json:"setup_ms"`            // of the hypervisor, before it sent any
	SwitchMS  int64  `json:"switch_ms,omitempty"` // from when postcopy was asked for until the guest ran on the target
	Why       string `json:"why,omitempty"`       // it goes on for so long, or took this way
}

// The ways.
const (
	precopy  = "precopy"
	postcopy = "postcopy"

	// Of a Request.
	parallel   = "parallel"   // several connections
	compressed = "compressed" // the same, and what is sent is compressed
	single     = "single"     // one connection, as precopy
)

// memory sends the guest's memory until only the last of it remains, which is
// held back.
//
// With instant, or if several passes over the memory have not been enough because
// the guest changes it faster than it is sent, the guest leaves at once, and what
// is left of the memory follows.
func (m *Moves) memory(instant bool) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error { return m.sendMemory(ctx, r, instant) }
}

func (m *Moves) sendMemory(ctx context.Context, r *run, instant bool) error {
	s := r.State
	if s.Endless && s.Way.Several() || s.Anew {
		if err := m.otherWay(ctx, r); err != nil {
			return err
		}
		s.Anew = false
	}
	if instant && !s.Postcopy {
		return droveway.Missing("postcopy", "host %s cannot let memory follow: move without --instant, or see its log for the reason", s.To)
	}
	s.Hurried, s.Result.Memory = 0, &Memory{Way: precopy}
	switch {
	case s.Way.Several():
		s.Result.Memory.Way = string(s.Way)
	case s.Endless:
		s.Result.Memory.Why = "passes over several connections did not end"
	}
	if s.Stood > 0 {
		s.Result.Memory.Why = fmt.Sprintf("memory was sent anew, as it stood still: %d times", s.Stood)
	}
	if _, err := m.cfg.Hosts.Send(ctx, s.From, host.Send{Ref: s.source(), To: s.Memory, Peer: s.To, Way: s.Way}); err != nil {
		return err
	}
	if instant {
		if err := m.hurry(ctx, r, postcopy, "it was asked for"); err != nil {
			return err
		}
	}
	answers, stop := m.watchTarget(ctx, s)
	defer stop()
	p, err := m.held(ctx, r, s.From, s.source(), answers)
	if errors.Is(err, errEndless) || errors.Is(err, errStands) {
		stop()
		return m.sendMemory(ctx, r, instant) // at once: held for the handover, the guest would stand
	}
	if err == nil && p.Error != "" {
		return m.unreached(s, p.Error)
	}
	s.note(p)
	s.waiting = err == nil && answers()
	return err
}

// How often the target is asked whether it is there while it takes memory, and how
// old an answer may be to say something of now.
const (
	watchEvery = 200 * time.Millisecond
	watchLate  = 5 * watchEvery
)

// watchTarget asks the target, while memory goes there, whether it answers: a guest is
// handed over without another word only to a host that has just done so.
func (m *Moves) watchTarget(ctx context.Context, s *state) (answers func() bool, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	to, name := s.To, s.Target.Machine
	var there atomic.Int64 // when it answered last
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			_, err := m.cfg.Hosts.Show(ctx, to, name)
			if err == nil {
				there.Store(time.Now().UnixNano())
			} else {
				there.Store(0)
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchEvery):
			}
		}
	})
	return func() bool { return time.Since(time.Unix(0, there.Load())) < watchLate }, func() { cancel(); all.Wait() }
}

// hurry lets the guest leave at once, once.
func (m *Moves) hurry(ctx context.Context, r *run, way, why string) error {
	s := r.State
	if s.Hurried != 0 {
		return nil
	}
	if err := m.cfg.Hosts.Hurry(ctx, s.From, s.source()); err != nil {
		return err
	}
	s.Hurried = time.Now().UnixMilli()
	if s.Way == hypervisor.Preempt {
		way += " with preempt"
	}
	s.Result.Memory.Way, s.Result.Memory.Why = way, why
	return nil
}

// note keeps what the source says of the memory.
func (s *state) note(p hypervisor.MemoryProgress) {
	if n := s.Result.Memory; n != nil && p.Total > 0 {
		n.Passes, n.Bytes, n.LinkRate, n.SetupMS = p.Iterations, p.Moved, p.Rate, p.Setup.Milliseconds()
		n.DirtyRate = max(n.DirtyRate, p.DirtyRate)
	}
}

// held waits until memory that a host sends is held back. If that fails the
// progress it returns has the error. Answers says whether the other host is there.
func (m *Moves) held(ctx context.Context, r *run, from string, ref host.Ref, answers func() bool) (hypervisor.MemoryProgress, error) {
	var move motion
	for begun := time.Now(); ; {
		p, err := m.cfg.Hosts.Await(ctx, from, ref)
		if err != nil || p.State == hypervisor.Held || p.State == hypervisor.Sent {
			p.Error = ""
			return p, err
		}
		if p.State != hypervisor.Sending {
			if p.Error == "" {
				p.Error = "it stopped sending"
			}
			return p, nil
		}
		if move.stood(p) > m.stand && answers() {
			if from == r.State.From && r.State.Stood < standings {
				return p, m.stands(ctx, r)
			}
			p.Error = fmt.Sprintf("it stands still since %s, though both hosts answer", m.stand)
			return p, nil
		}
		if from == r.State.From {
			if err := m.converge(ctx, r, p); err != nil {
				return p, err
			}
		} else if p.Iterations > maxPasses && time.Since(begun) > m.giveUp {
			p.Error = rates(p)
			return p, nil
		}
		r.Progress(droveway.Progress{Done: p.Total - p.Remaining, Total: p.Total, Rate: p.Rate, Remaining: remaining(p.Remaining, p.Rate)})
	}
}

// maxPasses is how many passes over the memory a guest is given to be nearly
// whole on the other side.
const maxPasses = 5

// converge sees to a guest that changes its memory faster than it is sent: the
// rest follows, or else the job says why it takes so long.
func (m *Moves) converge(ctx context.Context, r *run, p hypervisor.MemoryProgress) error {
	s := r.State
	s.note(p)
	if p.Iterations <= maxPasses {
		return nil
	}
	if s.Way.Several() {
		return m.endless(ctx, r, p)
	}
	if s.Postcopy {
		r.Log.Info("memory follows after the switchover: passes over it do not end", "passes", p.Iterations, "dirty", p.DirtyRate, "rate", p.Rate)
		return m.hurry(ctx, r, fmt.Sprintf("%s, %s after %d passes", precopy, postcopy, maxPasses), rates(p))
	}
	s.Result.Memory.Why = rates(p) + ", and one of the hosts cannot let memory follow: call it off with --abort, or wait until the guest is quieter"
	r.Result(s.Result)
	return nil
}

func rates(p hypervisor.MemoryProgress) string {
	return fmt.Sprintf("the guest changes %s a second of its memory and %s a second are sent", mib(p.DirtyRate), mib(p.Rate))
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func remaining(left, rate int64) int64 {
	if rate <= 0 {
		return 0
	}
	return left * 1000 / rate
}

// follow waits, if the guest left before its memory, until all of that is on the
// target. If the source's instance dies before it has said so, or the connection,
// the memory is lost, and the machine boots from the source's disks. The target
// cannot be asked: its hypervisor stands still over the first page that is missing.
func (m *Moves) follow(ctx context.Context, r *run) error {
	s := r.State
	for s.Postcopy {
		p, err := m.cfg.Hosts.Await(ctx, s.From, s.source())
		switch {
		case droveway.Is(err, droveway.Unavailable):
			return err
		case err != nil, p.State == hypervisor.Gone, p.Error != "":
			return m.comeBack(ctx, r, "memory that was to follow is lost")
		case !p.Follows:
			s.note(p)
			return m.followed(ctx, r)
		}
		r.Progress(droveway.Progress{Done: p.Total - p.Remaining, Total: p.Total, Rate: p.Rate, Remaining: remaining(p.Remaining, p.Rate)})
	}
	return nil
}

// followed takes back what was said of the risk.
func (m *Moves) followed(ctx context.Context, r *run) error {
	s := r.State
	live(r, s.To, "the guest runs there; host %s keeps a current copy of its disks", s.From)
	return m.say(ctx, s.Target.Machine, "")
}

// risk says what is at stake while memory follows.
func risk(machine, from, to string) string {
	return fmt.Sprintf("while memory follows it is on both hosts: if %s, %s or for long the link between them fails, machine %s boots from its current disks on host %s, with every acknowledged write",
		from, to, machine, from)
}

// say writes a word about a machine where machine show has it.
func (m *Moves) say(ctx context.Context, machine, word string) error {
	_, err := m.cfg.Fleet.Machines.Update(ctx, machine, func(mc *droveway.Machine) error {
		mc.Status.Message = word
		return nil
	})
	return err
}
