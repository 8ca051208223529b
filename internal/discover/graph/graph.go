// Package graph keeps who talks to whom: the edges between services and hosts
// that findings show, with their ways through translators and their evidence, and
// what people want to know of them before they move anything. It is pure and
// bounded: findings and time in, changes and answers out.
package graph

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// Config says how long edges live and how many a host may have. A zero field
// takes its default.
type Config struct {
	Stale        time.Duration // without being seen, while both ends were watched: 15 min
	Remove       time.Duration // after that, an edge is removed: 7 days
	EdgesPerHost int           // 4096
	// Site of a host, so that a private address without a probe is not taken for
	// the same in every site; nil: there is one site.
	Site func(host string) string
}

// Graph is the edges of a fleet. It is not safe for concurrent use.
type Graph struct {
	config  Config
	edges   index
	watched map[string]discover.Coverage
	groups  map[string][]string
	changed []*node // each once
	removed []Edge  // the last few
	refused uint64
}

// Change is an edge to store, or to delete from the store.
type Change struct {
	Edge Edge
	Gone bool
}

const keptRemoved = 1000

// New makes an empty graph.
func New(c Config) *Graph {
	return &Graph{
		config: Config{
			Stale:        cmp.Or(c.Stale, 3*discover.Repeat),
			Remove:       cmp.Or(c.Remove, 7*24*time.Hour),
			EdgesPerHost: cmp.Or(c.EdgesPerHost, 4096),
			Site:         c.Site,
		},
		edges:   newIndex(),
		watched: map[string]discover.Coverage{}, groups: map[string][]string{},
	}
}

// Apply takes a finding, in constant time.
func (g *Graph) Apply(f discover.Finding) {
	k := Key{g.located(f.Client, f.Server.Host), g.located(f.Server, f.Client.Host), f.Protocol, f.Port}
	e := g.edges.find(&k)
	switch {
	case f.Withdrawn:
		if e != nil {
			g.delete(e)
		}
		return
	case e == nil:
		if e = g.create(k); e == nil {
			g.refused++
			return
		}
	}
	e.add(&f)
	g.change(e)
}

// change has an edge told by Changes.
func (g *Graph) change(n *node) {
	if !n.changed {
		n.changed = true
		g.changed = append(g.changed, n)
	}
}

// shared is the address space of carriers (RFC 6598), private like those of
// RFC 1918.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// located says where a private address without a probe is: at the host that
// talks to it.
func (g *Graph) located(p discover.Party, other string) discover.Party {
	if a := p.External; g.config.Site != nil && p.Host == "" && (a.IsPrivate() || shared.Contains(a)) {
		p.Site = g.config.Site(other)
	}
	return p
}

// create makes an edge, unless a host of it has too many.
func (g *Graph) create(k Key) *node {
	for _, h := range k.hosts() {
		if len(g.edges.byHost[h]) >= g.config.EdgesPerHost && (k.external() || !g.makeRoom(h)) {
			return nil
		}
	}
	e := Edge{ID: k.id(), Key: k}
	g.named(&e)
	return g.edges.insert(e)
}

// makeRoom gives up an edge to somebody without a probe.
func (g *Graph) makeRoom(host string) bool {
	for _, e := range g.edges.byHost[host] {
		if e.external() {
			g.delete(e)
			return true
		}
	}
	return false
}

// named takes over what was known while a process had no name yet.
func (g *Graph) named(e *Edge) {
	for _, k := range e.anonymous() {
		o := g.edges.find(&k)
		if o == nil || k == e.Key {
			continue
		}
		id, key := e.ID, e.Key
		*e = o.clone()
		e.ID, e.Key = id, key
		g.delete(o)
	}
}

// anonymous gives the keys that the edge had with processes without names, or
// with the kernel's alone.
func (k Key) anonymous() []Key {
	all := make([]Key, 0, 9)
	for _, client := range []discover.Service{k.Client.Service, k.Client.Service.Bare(), {}} {
		for _, server := range []discover.Service{k.Server.Service, k.Server.Service.Bare(), {}} {
			less := k
			less.Client.Service, less.Server.Service = client, server
			all = append(all, less)
		}
	}
	return all
}

func (g *Graph) delete(e *node) {
	g.edges.delete(e)
	g.change(e)
}

// Watch says how well a host is watched: an edge gets old by being looked for
// and not seen, not by nobody looking.
func (g *Graph) Watch(c discover.Coverage) { g.watched[c.Host] = c }

// Advance lets edges get stale and goes through all of them: call it every
// minute or so.
func (g *Graph) Advance(now time.Time) {
	for e := range g.edges.all() {
		unseen := g.lookedAt(e, now).Sub(e.Last)
		switch {
		case unseen >= g.config.Stale+g.config.Remove:
			e.State = Removed
			g.keepRemoved(e.Edge)
			g.delete(e)
		case unseen >= g.config.Stale && e.State == Active:
			e.State = Stale
			g.change(e)
		}
	}
}

// lookedAt is when both ends were last watched.
func (g *Graph) lookedAt(e *node, now time.Time) time.Time {
	for _, h := range e.hosts() {
		if last := g.watched[h].Last; last.Before(now) {
			now = last
		}
	}
	return now
}

func (g *Graph) keepRemoved(e Edge) {
	if len(g.removed) >= keptRemoved {
		g.removed = slices.Delete(g.removed, 0, keptRemoved/10)
	}
	g.removed = append(g.removed, e)
}

// Changes gives what is to be stored since the last call, in any order: edges that are
// due, at most as many. The others are for a later call.
func (g *Graph) Changes(most int, due func(e *Edge) bool) []Change {
	var now []Change
	later := g.changed[:0]
	for _, e := range g.changed {
		switch again := e.gone && g.edges.find(&e.Key) != nil; {
		case !again && (len(now) == most || !e.gone && !due(&e.Edge)):
			later = append(later, e)
			continue
		case again: // made anew, which is a change of its own
		case e.gone:
			now = append(now, Change{Edge: Edge{ID: e.ID, Key: e.Key, State: Removed}, Gone: true})
		default:
			now = append(now, Change{Edge: e.clone()})
		}
		e.changed = false
	}
	clear(g.changed[len(later):])
	g.changed = later
	return now
}

// Always has every change be due.
func Always(*Edge) bool { return true }

// Restore takes edges from a store.
func (g *Graph) Restore(edges []Edge) {
	for _, e := range edges {
		e.ID = e.id() // a store is not to be trusted with it
		if old := g.edges.find(&e.Key); old != nil {
			g.edges.delete(old)
		}
		g.edges.insert(e)
	}
}

// Snapshot is a copy that does not change, for what takes long: to plan for 10,000
// hosts takes seconds.
func (g *Graph) Snapshot() *Graph {
	c := New(g.config)
	c.config.Site = nil // which is for those who change a graph
	c.watched, c.groups = maps.Clone(g.watched), g.Groups()
	for e := range g.edges.all() {
		c.edges.insert(e.clone())
	}
	return c
}

// Refused is how many findings had no room.
func (g *Graph) Refused() uint64 { return g.refused }
