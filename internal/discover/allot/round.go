package allot

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// Emitted takes what a host says that it emitted. The first refusal or silence
// of an endpoint ends all patterns toward it.
func (a *Allotter) Emitted(host string, all []discover.Emission, now time.Time) []Cancel {
	var cancels []Cancel
	for _, e := range all {
		r := a.byName(e.Pattern)
		if r == nil || r.Host != host {
			continue // over, or none of that host's
		}
		if e.Error != "" {
			cancels = append(cancels, a.dead(r, e.Error, now)...)
			continue
		}
		if r.state == Scheduled {
			a.enter(r, Emitted, now)
		}
	}
	return cancels
}

func (a *Allotter) byName(p string) *relation {
	id, err := strconv.ParseUint(p, 16, 32)
	if err != nil {
		return nil
	}
	return a.live[uint32(id)]
}

// dead ends everything toward the endpoint of a relation.
func (a *Allotter) dead(r *relation, why string, now time.Time) []Cancel {
	a.endpoint(r.Destination).deadUntil = now.Add(Renew)
	return a.stop(now, func(o *relation) string {
		if o.Destination != r.Destination {
			return ""
		}
		return "the endpoint answered " + strconv.Quote(why)
	})
}

// stop ends the live patterns for which there is a reason.
func (a *Allotter) stop(now time.Time, reason func(*relation) string) []Cancel {
	var cancels []Cancel
	for _, id := range slices.Sorted(maps.Keys(a.live)) {
		r := a.live[id]
		why := reason(r)
		if why == "" {
			continue
		}
		cancels = append(cancels, Cancel{r.Host, name(id)})
		a.note(now, Cancelled, r, why)
		a.end(r, now)
		a.enter(r, Unreachable, now)
	}
	return cancels
}

// end frees what a pattern holds.
func (a *Allotter) end(r *relation, now time.Time) {
	delete(a.live, r.pattern)
	a.retired[r.pattern] = now
	a.endpoint(r.Destination).release(r.Host)
	if a.busy[r.Host]--; a.busy[r.Host] <= 0 {
		delete(a.busy, r.Host)
	}
}

func (a *Allotter) enter(r *relation, s State, now time.Time) {
	a.changed = a.changed || r.ended()
	r.state, r.changed = s, now
	a.changed = a.changed || r.ended()
	if s == Waiting && !r.queued {
		a.endpoint(r.Destination).enqueue(r)
	}
}

// Outcome takes what the joiner found of a pattern.
func (a *Allotter) Outcome(o discover.Outcome, now time.Time) {
	r := a.byName(o.Pattern)
	if r == nil {
		return
	}
	a.end(r, now)
	switch {
	case !o.Matched:
		a.note(now, Unheard, r, "nobody heard it for certain")
		a.again(r, o.Ambiguous, now)
	case len(r.heard) == 0:
		a.note(now, Heard, r, "first round")
		r.heard, r.rounds = o.Servers, 1
		a.enter(r, Matched, now)
	case agree(r.heard, o.Servers):
		a.note(now, Heard, r, "both rounds agree")
		a.enter(r, Confirmed, now)
	default:
		a.note(now, Unheard, r, "two rounds disagree")
		r.heard = nil
		a.again(r, true, now)
	}
}

// again has another round, unless there were enough.
func (a *Allotter) again(r *relation, ambiguous bool, now time.Time) {
	switch {
	case r.rounds < maxRounds:
		a.enter(r, Waiting, now)
	case ambiguous:
		a.enter(r, Ambiguous, now)
	default:
		a.enter(r, Silent, now)
	}
}

// agree reports whether two rounds reached the same: of a pool, a part.
func agree(a, b []discover.Served) bool {
	return slices.ContainsFunc(a, func(s discover.Served) bool { return slices.Contains(b, s) })
}

// Advance lets time pass: it has second rounds, ends what nobody answered, and
// forgets what nobody contacts.
func (a *Allotter) Advance(now time.Time) {
	for _, r := range a.due(now) {
		a.advance(r, now)
	}
	for id, at := range a.retired {
		if now.Sub(at) > answer {
			delete(a.retired, id)
		}
	}
	a.turns = slices.DeleteFunc(a.turns, func(e *endpoint) bool {
		e.forget(now)
		over := len(e.queue)+len(e.opens)+len(e.active) == 0 && now.After(e.deadUntil)
		if over {
			delete(a.endpoints, e.at)
		}
		return over
	})
}

// due gives the relations that time does something to, always in the same order:
// it is that of their queues.
func (a *Allotter) due(now time.Time) (due []*relation) {
	for _, r := range a.relations {
		switch live := a.live[r.pattern] == r; {
		case live && now.Sub(r.ends) <= answer:
		case live, now.Sub(r.seen) > Forget, r.state == Matched, r.state == Stale:
			due = append(due, r)
		case r.state != Waiting && now.Sub(r.changed) > Renew:
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *relation) int { return a.key().compare(b.key()) })
	return due
}

func (a *Allotter) advance(r *relation, now time.Time) {
	switch {
	case a.live[r.pattern] == r:
		a.note(now, Unheard, r, "no report came")
		a.end(r, now)
		a.again(r, false, now)
	case now.Sub(r.seen) > Forget:
		a.drop(r)
	case r.state == Matched:
		a.enter(r, Waiting, now)
	case r.state == Stale:
		r.rounds, r.heard = 0, nil
		a.enter(r, Waiting, now)
	default:
		a.enter(r, Stale, now)
	}
}
