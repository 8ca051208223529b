package allot

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/pattern"
)

// Action is what was done about a candidate.
type Action string

// The actions in the audit.
const (
	Allotted  Action = "allotted"
	Refused   Action = "refused"
	Cancelled Action = "cancelled"
	Heard     Action = "heard"
	Unheard   Action = "unheard"
)

// Entry is one line of the audit.
type Entry struct {
	Time        time.Time        `json:"time"`
	Action      Action           `json:"action"`
	Host        string           `json:"host"`
	Service     discover.Service `json:"service"`
	Destination netip.AddrPort   `json:"destination"`
	Pattern     string           `json:"pattern,omitempty"`
	Why         string           `json:"why"`
}

const keptEntries = 10_000

func (a *Allotter) note(now time.Time, act Action, r *relation, why string) {
	if len(a.audit) >= keptEntries {
		a.audit = slices.Delete(a.audit, 0, keptEntries/10)
	}
	e := Entry{now, act, r.Host, r.Service, r.Destination, "", why}
	if act != Refused {
		e.Pattern = name(r.pattern)
	}
	a.audit = append(a.audit, e)
}

// Audit gives what was done since the last call, the last 10,000 lines at most.
func (a *Allotter) Audit() []Entry {
	e := a.audit
	a.audit = nil
	return e
}

// Planned is what would be done about a candidate.
type Planned struct {
	Candidate
	State   State
	Refused string // why nothing will be emitted; empty: something will
	Opens   int    // connections still to come, both rounds
}

// Plan says what would be emitted, without emitting anything: the dry run.
func (a *Allotter) Plan(now time.Time) []Planned {
	plan := make([]Planned, 0, len(a.relations))
	for _, r := range a.relations {
		p := Planned{Candidate: r.Candidate, State: r.state, Refused: a.policy.forbids(r.Candidate)}
		if e := a.endpoints[r.Destination]; p.Refused == "" && e != nil && now.Before(e.deadUntil) {
			p.Refused = "the endpoint refused a connection or did not answer"
		}
		if p.Refused == "" && r.declined != "" {
			p.Refused = "its probe does not take part: " + r.declined
		}
		if p.Refused == "" {
			p.Opens = r.remaining() * pattern.Length
		}
		plan = append(plan, p)
	}
	slices.SortFunc(plan, func(a, b Planned) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), a.Destination.Compare(b.Destination), cmp.Compare(a.Service.Name(), b.Service.Name()))
	})
	return plan
}

// remaining is how many rounds are still wanted.
func (r *relation) remaining() int {
	switch {
	case r.state == Waiting && len(r.heard) == 0:
		return 2
	case r.state == Waiting, r.state == Matched, r.state == Scheduled && len(r.heard) == 0, r.state == Emitted && len(r.heard) == 0:
		return 1
	}
	return 0
}
