package allot

import (
	"net/netip"
	"slices"
	"time"
)

// endpoint is a destination as it is dialled, and what the fleet opens to it.
// Where private addresses overlap, different servers share a budget: less load
// than allowed, never more.
type endpoint struct {
	at        netip.AddrPort
	queue     []*relation
	opens     []time.Time    // sorted, of the last and the coming seconds
	active    map[string]int // patterns by host
	deadUntil time.Time
}

const (
	// second is the time in which the budget counts, with what clocks may be
	// wrong about.
	second = time.Second + 250*time.Millisecond
	// slots are the starts that are tried, from the earliest on.
	slots = 4
	slot  = 250 * time.Millisecond
)

func (a *Allotter) endpoint(at netip.AddrPort) *endpoint {
	e := a.endpoints[at]
	if e == nil {
		e = &endpoint{at: at, active: map[string]int{}}
		a.endpoints[at] = e
		a.turns = append(a.turns, e)
	}
	return e
}

func (e *endpoint) enqueue(r *relation) {
	r.queued = true
	e.queue = append(e.queue, r)
}

func (e *endpoint) dequeue() *relation {
	r := e.queue[0]
	e.queue = e.queue[1:]
	r.queued = false
	return r
}

// reserve finds a start at which a pattern keeps the budget, and books it.
func (e *endpoint) reserve(earliest time.Time, delays []time.Duration, budget int) (time.Time, bool) {
	for i := range slots {
		start := earliest.Add(time.Duration(i) * slot)
		all := slices.Clone(e.opens)
		for _, d := range delays {
			all = append(all, start.Add(d))
		}
		slices.SortFunc(all, time.Time.Compare)
		if within(all, budget) {
			e.opens = all
			return start, true
		}
	}
	return time.Time{}, false
}

// within reports whether no second has more opens than the budget.
func within(opens []time.Time, budget int) bool {
	for i := budget; i < len(opens); i++ {
		if opens[i].Sub(opens[i-budget]) < second {
			return false
		}
	}
	return true
}

func (e *endpoint) forget(now time.Time) {
	e.opens = slices.DeleteFunc(e.opens, func(t time.Time) bool { return now.Sub(t) > second })
}

func (e *endpoint) release(host string) {
	if e.active[host]--; e.active[host] <= 0 {
		delete(e.active, host)
	}
}
