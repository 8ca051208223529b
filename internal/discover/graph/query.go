package graph

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

// Filter chooses edges; a zero field chooses all.
type Filter struct {
	Host     string // at either end
	Service  string // its short name, at either end
	State    State
	Worst    discover.Evidence // the best evidence has to be at least as good
	Internal bool              // leaves out ends without a probe
}

func (f Filter) takes(e *Edge) bool {
	switch {
	case f.Host != "" && f.Host != e.Client.Host && f.Host != e.Server.Host,
		f.Service != "" && f.Service != e.Client.Service.Name() && f.Service != e.Server.Service.Name(),
		f.State != "" && f.State != e.State,
		f.Internal && e.external(),
		f.Worst != "" && e.Evidence[0].Kind.Rank() > f.Worst.Rank():
		return false
	}
	return true
}

// List gives the chosen edges, sorted; of those that are removed, the last few.
func (g *Graph) List(f Filter) []Edge {
	if f.State == Removed {
		return g.listRemoved(f)
	}
	from := g.edges.all()
	if f.Host != "" {
		from = slices.Values(g.edges.byHost[f.Host])
	}
	var all []Edge
	for e := range from {
		if f.takes(&e.Edge) {
			all = append(all, e.clone())
		}
	}
	slices.SortFunc(all, compare)
	return all
}

func (g *Graph) listRemoved(f Filter) (all []Edge) {
	for i := range g.removed {
		if e := &g.removed[i]; f.takes(e) {
			all = append(all, e.clone())
		}
	}
	slices.SortFunc(all, compare)
	return all
}

func compare(a, b Edge) int {
	return cmp.Or(
		cmp.Compare(name(a.Client), name(b.Client)), cmp.Compare(a.Client.Service.Name(), b.Client.Service.Name()),
		cmp.Compare(name(a.Server), name(b.Server)), cmp.Compare(a.Server.Service.Name(), b.Server.Service.Name()),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.ID, b.ID),
	)
}

// Show gives one edge by its ID.
func (g *Graph) Show(id string) (Edge, error) {
	for e := range g.edges.all() {
		if e.ID == id {
			return e.clone(), nil
		}
	}
	return Edge{}, droveway.Errorf(droveway.NotFound, "there is no relation %q: list them for their IDs", id)
}

// Behind gives, for each address that is dialled, the servers that it is known to
// lead to, by their own addresses: whoever opts out knows no other.
func (g *Graph) Behind() map[netip.AddrPort][]netip.AddrPort {
	all := map[netip.AddrPort][]netip.AddrPort{}
	for e := range g.edges.all() {
		for _, p := range e.Paths {
			if p.Dialled.IsValid() && p.Served.IsValid() && !slices.Contains(all[p.Dialled], p.Served) {
				all[p.Dialled] = append(all[p.Dialled], p.Served)
			}
		}
	}
	return all
}

// HostEdge is all edges from one host to another.
type HostEdge struct {
	Client     string            `json:"client"` // host, or address without a probe
	Server     string            `json:"server"`
	Edges      int               `json:"edges"`
	Count      int               `json:"count"`
	Best       discover.Evidence `json:"best"`
	Confidence float64           `json:"confidence"` // of the best edge
	Translated bool              `json:"translated"`
	State      State             `json:"state"` // active if any is
	Last       time.Time         `json:"last"`
}

// Hosts joins edges between services into edges between hosts. A host that
// talks to itself has none.
func Hosts(edges []Edge) []HostEdge {
	all := map[[2]string]*HostEdge{}
	for i := range edges {
		e := &edges[i]
		k := [2]string{name(e.Client), name(e.Server)}
		if k[0] == k[1] {
			continue
		}
		h := all[k]
		if h == nil {
			h = &HostEdge{Client: k[0], Server: k[1], State: e.State, Best: e.Evidence[0].Kind}
			all[k] = h
		}
		h.add(e)
	}
	var list []HostEdge
	for _, k := range slices.SortedFunc(maps.Keys(all), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		list = append(list, *all[k])
	}
	return list
}

func (h *HostEdge) add(e *Edge) {
	h.Edges++
	h.Count += e.Count
	h.Confidence = max(h.Confidence, e.Confidence)
	h.Translated = h.Translated || slices.ContainsFunc(e.Paths, Path.Translated)
	if e.Evidence[0].Kind.Rank() < h.Best.Rank() {
		h.Best = e.Evidence[0].Kind
	}
	if e.State == Active {
		h.State = Active
	}
	if e.Last.After(h.Last) {
		h.Last = e.Last
	}
}

// Neighbourhood gives the edges of a host, of those that it talks to, and so on
// for so many steps.
func (g *Graph) Neighbourhood(host string, steps int) ([]Edge, error) {
	if err := g.known(host); err != nil {
		return nil, err
	}
	seen, front := map[string]bool{host: true}, []string{host}
	chosen := map[*node]bool{}
	for range steps {
		var next []string
		for _, h := range front {
			for _, e := range g.edges.byHost[h] {
				chosen[e] = true
				for _, o := range e.hosts() {
					if !seen[o] {
						seen[o] = true
						next = append(next, o)
					}
				}
			}
		}
		front = next
	}
	all := make([]Edge, 0, len(chosen))
	for e := range chosen {
		all = append(all, e.clone())
	}
	slices.SortFunc(all, compare)
	return all, nil
}

func (g *Graph) known(host string) error {
	if _, ok := g.watched[host]; !ok && g.edges.byHost[host] == nil {
		return droveway.Errorf(droveway.NotFound, "no probe of a host %q reported yet: run droveway probe there", host)
	}
	return nil
}

// Impact is a host that a failure reaches.
type Impact struct {
	Host  string `json:"host"`
	Steps int    `json:"steps"` // 1: it uses the host itself
	Via   string `json:"via"`   // the host whose service it loses
}

// Blast gives the hosts that depend on a host, directly or through others:
// whom it may hurt if the host stops. Nearest first.
func (g *Graph) Blast(host string) ([]Impact, error) {
	if err := g.known(host); err != nil {
		return nil, err
	}
	return g.blast([]string{host}), nil
}

func (g *Graph) blast(front []string) (all []Impact) {
	seen := map[string]bool{}
	for _, h := range front {
		seen[h] = true
	}
	for step := 1; len(front) > 0; step++ {
		var next []Impact
		for _, h := range front {
			for _, e := range g.edges.byHost[h] {
				if c := e.Client.Host; e.Server.Host == h && c != "" && e.State == Active && !seen[c] {
					seen[c] = true
					next = append(next, Impact{c, step, h})
				}
			}
		}
		slices.SortFunc(next, func(a, b Impact) int { return cmp.Compare(a.Host, b.Host) })
		front = nil
		for _, i := range next {
			front = append(front, i.Host)
		}
		all = append(all, next...)
	}
	return all
}
