package host

import (
	"context"
	"os"
	"slices"
	"time"
)

// Of a machine that has left, a host keeps a record without disks: its token refuses
// orders that are older. Such an order is late by seconds as a rule, and by as long as
// the server was down at the most: jobs go on with what they have noted. Since a server
// may come back from a copy of its state, it is kept for much longer than that, but not
// for ever.
const (
	leftKeep  = 30 * 24 * time.Hour
	leftMost  = 10_000         // records; beyond it the oldest go before their time
	leftLeast = 24 * time.Hour // but none before that
	leftEvery = time.Hour      // between two looks
)

// departed is a machine that has left.
type departed struct {
	m  *machine
	at time.Time // when its record was written
}

// forgetDeparted drops, now and then, the records of machines that left long ago, until
// ctx ends.
func (a *Agent) forgetDeparted(ctx context.Context) {
	for {
		a.dropDeparted(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-time.After(leftEvery):
		}
	}
}

func (a *Agent) dropDeparted(now time.Time) {
	var all []departed
	for _, m := range a.all() {
		if rec := m.record(); !rec.departed() {
			continue
		}
		info, err := os.Stat(a.records.path(m.name))
		if err == nil {
			all = append(all, departed{m, info.ModTime()})
		}
	}
	for _, d := range surplus(all, now) {
		if err := a.dropOne(d.m); err != nil {
			a.cfg.Log.Warn("the record of a machine that left long ago stays", "machine", d.m.name, "error", err)
		}
	}
}

// surplus gives those that need not be remembered any more.
func surplus(all []departed, now time.Time) []departed {
	slices.SortFunc(all, func(a, b departed) int { return a.at.Compare(b.at) })
	over := len(all) - leftMost
	end := 0
	for ; end < len(all); end++ {
		age := now.Sub(all[end].at)
		if age < leftKeep && (end >= over || age < leftLeast) {
			break
		}
	}
	return all[:end]
}

// dropOne drops a record, unless a command is at work with the machine, or has brought
// something of it here meanwhile.
func (a *Agent) dropOne(m *machine) error {
	if !m.mu.TryLock() {
		return nil
	}
	defer m.mu.Unlock()
	if !m.rec.departed() || m.trouble() != nil {
		return nil
	}
	if err := a.records.remove(m.name); err != nil {
		return err
	}
	a.forget(m.name)
	return nil
}

// departed reports whether a record is but the fence of a machine that has left. A
// creation that was begun is none either, but has its disks.
func (r *record) departed() bool {
	return r.Role == RoleNone && r.Handle == nil && r.Secondary == nil && len(r.Instance.Disks) == 0
}
