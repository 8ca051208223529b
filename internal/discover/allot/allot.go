// Package allot gives out the patterns that probes emit: a number of its own for
// each process and destination that reports showed, a slot in time, a budget, an
// end, and a second round that confirms the first. It decides alone where a
// pattern may go. It is pure: reports and time in, orders out.
package allot

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/pattern"
)

// State is how far a candidate is.
//
//	        ┌───────────retry, second round────────────┐
//	        ▼                                          │
//	candidate ──slot──▶ scheduled ──reported──▶ emitted ──heard──▶ matched
//	    ▲                   │                      │                  │ second round
//	    │◀─────declined─────┤                      │                  ▼ agrees
//	    │                   └──refused, no answer──┤              confirmed
//	    │                                          ▼                  │
//	    │                                 unreachable, silent,        │
//	    └───────────after Renew────────── ambiguous, stale ◀──Renew───┘
//
// A candidate that its host does not contact any more is forgotten in any state.
type State string

// The states of a candidate.
const (
	Waiting     State = "candidate"
	Scheduled   State = "scheduled"
	Emitted     State = "emitted"
	Matched     State = "matched"
	Confirmed   State = "confirmed"
	Stale       State = "stale"
	Ambiguous   State = "ambiguous"
	Unreachable State = "unreachable" // it refused a connection or did not answer
	Silent      State = "silent"      // nobody with a probe heard it
)

// Candidate is what a host contacts anyway.
type Candidate struct {
	Host        string
	Site        string
	Service     discover.Service
	PID         int
	Destination netip.AddrPort
	Behind      []netip.AddrPort // that the destination is known to lead to
}

type key struct {
	host        string
	service     discover.Service
	destination netip.AddrPort
}

func (c Candidate) key() key { return key{c.Host, c.Service, c.Destination} }

func (k key) compare(o key) int {
	return cmp.Or(
		cmp.Compare(k.host, o.host),
		k.service.Compare(o.service),
		k.destination.Compare(o.destination),
	)
}

// relation is a candidate with what became of it.
type relation struct {
	Candidate
	state    State
	seen     time.Time // the host contacted it
	changed  time.Time
	rounds   int // emitted
	heard    []discover.Served
	pattern  uint32
	ends     time.Time // of the pattern
	refused  string    // by the policy, and why, the last time
	declined string    // by its probe, and why
	queued   bool
}

// Order tells a host to emit a pattern, and the joiner to expect it.
type Order struct {
	Host       string
	Assignment discover.Assignment
	Expect     discover.Expectation
}

// Cancel tells a host to stop a pattern at once.
type Cancel struct {
	Host    string
	Pattern string
}

// Allotter allots patterns. It is not safe for concurrent use.
type Allotter struct {
	policy    Policy
	random    func() uint32
	relations map[key]*relation
	endpoints map[netip.AddrPort]*endpoint
	turns     []*endpoint // the same, oldest first
	live      map[uint32]*relation
	retired   map[uint32]time.Time // numbers that late reports may still name
	busy      map[string]int       // patterns by host
	audit     []Entry
	began     time.Time
	changed   bool // of the results, since they were given
}

// The times of an allotter.
const (
	// Lead is how long before its start a pattern is ordered.
	Lead = 5 * time.Second
	// Forget is how long a candidate lives without being contacted.
	Forget = time.Hour
	// Renew is how long a result is good for.
	Renew = 24 * time.Hour

	late       = 30 * time.Second               // after its end, a pattern may not be emitted any more
	answer     = 15 * time.Minute               // after its end, what the joiner found has to be there
	quiet      = Lead + pattern.Duration + late // what was allotted before a restart is over
	maxRounds  = 4
	maxTracked = 200_000 // candidates
)

// New makes an allotter. Random draws the numbers of patterns; it should not be
// predictable. A policy that exceeds the limits is Invalid.
func New(p Policy, random func() uint32) (*Allotter, error) {
	p, err := p.filled()
	if err != nil {
		return nil, err
	}
	return &Allotter{
		policy: p, random: random,
		relations: map[key]*relation{}, endpoints: map[netip.AddrPort]*endpoint{},
		live: map[uint32]*relation{}, retired: map[uint32]time.Time{}, busy: map[string]int{},
	}, nil
}

// SetPolicy changes the policy; what it forbids is stopped at once.
func (a *Allotter) SetPolicy(p Policy, now time.Time) ([]Cancel, error) {
	p, err := p.filled()
	if err != nil {
		return nil, err
	}
	a.policy = p
	return a.stop(now, func(r *relation) string { return p.forbids(r.Candidate) }), nil
}

// Offer says that a host contacted something. Only what is offered is ever
// probed.
func (a *Allotter) Offer(c Candidate, now time.Time) {
	r := a.relations[c.key()]
	if r == nil {
		if len(a.relations) >= maxTracked {
			return
		}
		r = &relation{state: Waiting, changed: now}
		a.relations[c.key()] = r
	}
	r.Candidate, r.seen, r.declined = c, now, ""
	if r.state == Waiting && !r.queued {
		a.endpoint(c.Destination).enqueue(r)
	}
}

// Resolved says that better evidence explains a candidate: it needs no pattern.
func (a *Allotter) Resolved(c Candidate) {
	if r := a.relations[c.key()]; r != nil && a.live[r.pattern] != r {
		a.drop(r)
	}
}

func (a *Allotter) drop(r *relation) {
	delete(a.relations, r.key())
	a.changed = a.changed || r.ended()
}

// Declined says that a host does not emit a pattern, and will not: it is as if it
// had not been ordered. The candidate waits until it is offered again.
func (a *Allotter) Declined(pattern, why string, now time.Time) {
	r := a.byName(pattern)
	if r == nil {
		return
	}
	a.note(now, Cancelled, r, "its probe does not take part: "+why)
	a.end(r, now)
	r.rounds--
	r.state, r.changed, r.declined = Waiting, now, why
}

// Next orders the patterns whose turn it is. Offset is how far a host's clock is
// ahead; a host without a known clock waits. Call it about every second. At
// first it orders nothing, since probes may still emit what another allotter
// ordered before a restart.
func (a *Allotter) Next(now time.Time, offset func(host string) (time.Duration, bool)) []Order {
	if a.began.IsZero() {
		a.began = now
	}
	if now.Sub(a.began) < quiet {
		return nil
	}
	var orders []Order
	for _, e := range a.turns {
		orders = append(orders, a.nextOf(e, now, offset)...)
	}
	return orders
}

// nextOf fills the endpoint's budget from its queue: each waits its turn once.
func (a *Allotter) nextOf(e *endpoint, now time.Time, offset func(string) (time.Duration, bool)) (orders []Order) {
	e.forget(now)
	for range len(e.queue) {
		r := e.dequeue()
		if a.relations[r.key()] != r || r.state != Waiting {
			continue
		}
		if a.refuses(r, now) {
			continue // until it is offered again
		}
		ahead, known := offset(r.Host)
		if !known || a.busy[r.Host] >= a.policy.PerHost || e.active[r.Host] > 0 || now.Before(e.deadUntil) {
			e.enqueue(r)
			continue
		}
		o, fits := a.order(e, r, now, ahead)
		if !fits {
			e.enqueue(r)
			return orders
		}
		orders = append(orders, o)
	}
	return orders
}

// refuses asks the policy, and notes every answer once.
func (a *Allotter) refuses(r *relation, now time.Time) bool {
	why := a.policy.forbids(r.Candidate)
	if why != "" && why != r.refused {
		a.note(now, Refused, r, why)
	}
	r.refused = why
	return why != ""
}

func (a *Allotter) order(e *endpoint, r *relation, now time.Time, ahead time.Duration) (Order, bool) {
	id := a.number()
	delays, holds := pattern.Encode(id).Timing()
	start, fits := e.reserve(now.Add(Lead), delays, a.policy.Opens)
	if !fits {
		return Order{}, false
	}
	e.active[r.Host]++
	a.busy[r.Host]++
	a.live[id] = r
	r.state, r.changed, r.pattern, r.ends = Scheduled, now, id, start.Add(pattern.Duration)
	r.rounds++
	a.note(now, Allotted, r, fmt.Sprintf("round %d, %d connections from %s", r.rounds, pattern.Length, start.UTC().Format(time.RFC3339Nano)))
	expires := r.ends.Add(late)
	return Order{
		Host: r.Host,
		Assignment: discover.Assignment{
			Pattern: name(id), Destination: r.Destination, PID: r.PID,
			Start: start.Add(ahead), Delays: delays, Holds: holds, Expires: expires.Add(ahead),
		},
		Expect: discover.Expectation{
			Pattern: name(id), Host: r.Host, Service: r.Service, Destination: r.Destination, Expires: expires,
		},
	}, true
}

// number draws a number that no report can mistake for another.
func (a *Allotter) number() uint32 {
	for {
		id := a.random()
		_, retired := a.retired[id]
		if a.live[id] == nil && !retired {
			return id
		}
	}
}

func name(id uint32) string { return fmt.Sprintf("%08x", id) }

// State says how far a candidate is, and whether there is one.
func (a *Allotter) State(c Candidate) (State, bool) {
	r := a.relations[c.key()]
	if r == nil {
		return "", false
	}
	return r.state, true
}
