package allot

import "time"

// Result is what is known of a candidate for good: what a restart must not
// forget, or endpoints that refused once would be asked again.
type Result struct {
	Candidate Candidate `json:"candidate"`
	State     State     `json:"state"`
	Changed   time.Time `json:"changed"`
}

// Results gives the results to store. False: they are those of the last call. They
// may be very many, and change rarely.
func (a *Allotter) Results() (all []Result, changed bool) {
	if !a.changed {
		return nil, false
	}
	a.changed = false
	for _, r := range a.relations {
		if r.ended() {
			all = append(all, Result{r.Candidate, r.state, r.changed})
		}
	}
	return all, true
}

func (r *relation) ended() bool {
	switch r.state {
	case Confirmed, Ambiguous, Silent, Unreachable:
		return true
	}
	return false
}

// Restore takes results from a store. They count as contacted now.
func (a *Allotter) Restore(all []Result, now time.Time) {
	a.changed = true
	for _, s := range all {
		r := &relation{Candidate: s.Candidate, state: s.State, changed: s.Changed, seen: now}
		if !r.ended() || len(a.relations) >= maxTracked {
			continue
		}
		a.relations[r.key()] = r
		if e := a.endpoint(r.Destination); s.State == Unreachable && s.Changed.Add(Renew).After(e.deadUntil) {
			e.deadUntil = s.Changed.Add(Renew)
		}
	}
}
