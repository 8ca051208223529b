package graph

import (
	"fmt"
	"time"
)

// Explanation says what is known between two hosts, and how sure it is.
type Explanation struct {
	Edges []Edge `json:"edges"` // in both directions
	// Absent: there is no edge. Exact: and there was no traffic either, since
	// both ends were watched without a gap.
	Absent bool      `json:"absent"`
	Exact  bool      `json:"exact"`
	Since  time.Time `json:"since,omitzero"` // both were watched from then
	Until  time.Time `json:"until,omitzero"` // to then
	Why    string    `json:"why"`
}

// Explain says what is known between two hosts. That a host could reach another
// is no edge: only traffic is.
func (g *Graph) Explain(a, b string) (Explanation, error) {
	for _, h := range []string{a, b} {
		if err := g.known(h); err != nil {
			return Explanation{}, err
		}
	}
	var x Explanation
	for _, e := range g.List(Filter{Host: a}) {
		if e.Client.Host == b || e.Server.Host == b {
			x.Edges = append(x.Edges, e)
		}
	}
	g.span(&x, a, b)
	if x.Absent = len(x.Edges) == 0; !x.Absent {
		best := x.Edges[0]
		for _, e := range x.Edges {
			if e.Evidence[0].Kind.Rank() < best.Evidence[0].Kind.Rank() {
				best = e
			}
		}
		x.Why = fmt.Sprintf("%d relations, the best by %s, %d times", len(x.Edges), best.Evidence[0].Kind, best.Evidence[0].Count)
		return x, nil
	}
	x.Exact, x.Why = g.absence(x, a, b)
	return x, nil
}

// span is when both hosts were watched.
func (g *Graph) span(x *Explanation, a, b string) {
	ca, cb := g.watched[a], g.watched[b]
	if ca.Since.IsZero() || cb.Since.IsZero() {
		return
	}
	x.Since, x.Until = ca.Since, ca.Last
	if cb.Since.After(x.Since) {
		x.Since = cb.Since
	}
	if cb.Last.Before(x.Until) {
		x.Until = cb.Last
	}
}

func (g *Graph) absence(x Explanation, a, b string) (exact bool, why string) {
	for _, h := range []string{a, b} {
		switch c := g.watched[h]; {
		case c.Since.IsZero():
			return false, fmt.Sprintf("no relation is known, but host %q has no probe", h)
		case c.Missing > 0 || c.Lost > 0:
			return false, fmt.Sprintf("no relation is known, but %d reports and %d events of host %q are lost", c.Missing, c.Lost, h)
		}
	}
	if !x.Until.After(x.Since) {
		return false, "no relation is known, but both were not watched at the same time yet"
	}
	return true, fmt.Sprintf("no traffic in %v in which both were watched", x.Until.Sub(x.Since).Round(time.Second))
}
