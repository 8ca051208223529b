package host

import (
	"context"
	"errors"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// holdMax is how long a guest is held still for a verdict that does not come.
const holdMax = 10 * time.Second

// still is a guest held still while both copies of its disks are compared. It
// ends by a verdict, or by itself: a server that dies meanwhile must not leave
// the guest standing.
type still struct {
	held    chan struct{} // closed once the guest stands
	verdict chan bool     // whether the disks are equal
	done    chan struct{} // closed once it goes on
	err     error         // of the end; after done
}

// holdStill holds the guest still and answers once it stands.
func (a *Agent) holdStill(ctx context.Context, m *machine, _ Ref, _ *task) (Observed, error) {
	if err := m.must(verbHold, RoleHydrating); err != nil {
		return Observed{}, err
	}
	s, err := a.settle(m)
	if err != nil {
		return Observed{}, err
	}
	select {
	case <-s.held:
		return a.observe(ctx, m), nil
	case <-s.done:
		if s.err == nil { // the disks had left their origin already
			return a.settled(ctx, m)
		}
		return Observed{}, s.err
	case <-ctx.Done():
		return Observed{}, context.Cause(ctx)
	}
}

// settle begins to hold the guest still, unless it is held.
func (a *Agent) settle(m *machine) (*still, error) {
	mv, err := m.mover()
	if err != nil {
		return nil, err
	}
	m.see.Lock()
	defer m.see.Unlock()
	if m.still != nil {
		return m.still, nil
	}
	s := &still{held: make(chan struct{}), verdict: make(chan bool), done: make(chan struct{})}
	m.still = s
	a.tasks.wait.Go(func() {
		s.err = mv.Settle(a.tasks.ctx, s.wait)
		m.see.Lock()
		m.still = nil
		m.see.Unlock()
		close(s.done)
	})
	return s, nil
}

func (s *still) wait(ctx context.Context) error {
	close(s.held)
	ctx, cancel := context.WithTimeout(ctx, holdMax)
	defer cancel()
	select {
	case equal := <-s.verdict:
		if !equal {
			return droveway.Errorf(droveway.Conflict, "the disks differ")
		}
		return nil
	case <-ctx.Done():
		return droveway.Errorf(droveway.Unavailable, "no verdict came within %s: the guest goes on", holdMax)
	}
}

// verdict ends the standing of the guest. If the disks are equal they leave
// their origin, and the machine is at home here. That they will is on disk first: from
// the moment they have, the guest's writes are here alone, and if this host dies before
// it could note so, the next agent has to know which disks are the machine's.
func (a *Agent) verdict(ctx context.Context, m *machine, v Verdict, _ *task) (Observed, error) {
	if m.rec.Role == RoleHome {
		return a.observe(ctx, m), nil
	}
	if err := m.must(verbVerdict, RoleHydrating); err != nil {
		return Observed{}, err
	}
	m.see.Lock()
	s := m.still
	m.see.Unlock()
	if s == nil {
		return Observed{}, droveway.Errorf(droveway.Unavailable, "machine %s is not held still any more: hold it again", m.name)
	}
	if v.Equal {
		if err := a.save(m, func(r *record) { r.Proved = true }); err != nil {
			return Observed{}, err
		}
	}
	select {
	case s.verdict <- v.Equal:
		<-s.done
	case <-s.done:
		if s.err != nil {
			return Observed{}, errors.Join(s.err, a.review(ctx, m))
		}
	}
	if !v.Equal {
		return a.observe(ctx, m), nil // it goes on, with the origin as before
	}
	if s.err != nil {
		return Observed{}, errors.Join(s.err, a.review(ctx, m))
	}
	return a.settled(ctx, m)
}

func (a *Agent) settled(ctx context.Context, m *machine) (Observed, error) {
	err := a.save(m, func(r *record) { r.Role, r.Origin, r.Listen, r.Proved = RoleHome, nil, "", false })
	return a.observe(ctx, m), err
}

// reviewNoted reviews disks whose proof an earlier process has noted, without waiting
// for the next command: until then a guest that went on with its origin, and died,
// would be taken for one that had left it. It reports whether it has to be tried again;
// while a command is at work that is the command's business.
func (a *Agent) reviewNoted(ctx context.Context, m *machine) (again bool) {
	if rec := m.record(); rec.Role != RoleHydrating || !rec.Proved {
		return false
	}
	if !m.mu.TryLock() {
		return true
	}
	defer m.mu.Unlock()
	if err := a.review(ctx, m); err != nil {
		a.cfg.Log.Warn("it is not known yet whether the disks have left their origin", "machine", m.name, "error", err)
		return true
	}
	a.changed()
	return m.rec.Role == RoleHydrating && m.rec.Proved // they are about to
}

// review looks what became of disks that were to leave their origin. Of an instance that
// died meanwhile nobody knows whether it wrote here alone; the disks here are right in
// either case, for they were equal when it stood.
func (a *Agent) review(ctx context.Context, m *machine) error {
	if m.rec.Role != RoleHydrating || !m.rec.Proved {
		return nil
	}
	if err := m.trouble(); err != nil {
		return err
	}
	h := Hydration{Instance: hypervisor.Gone}
	if mv, err := m.mover(); err == nil {
		if h, err = status(ctx, mv); err != nil {
			return err
		}
	}
	switch {
	case h.Instance == hypervisor.Gone || h.Settled:
		_, err := a.settled(ctx, m)
		return err
	case !h.Leaving:
		return a.save(m, func(r *record) { r.Proved = false })
	}
	return nil
}
