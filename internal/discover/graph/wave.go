package graph

import (
	"cmp"
	"maps"
	"slices"

	"github.com/droveway/droveway"
)

// Limits bound a wave of moves. 0: no limit.
type Limits struct {
	Hosts int              // in a wave
	Size  int64            // of all its hosts, in any unit: memory, say
	Sizes map[string]int64 // of each host, in that unit
	Rate  int64            // size that can be moved in a second; 0: not known
}

// Wave is hosts that move at the same time.
type Wave struct {
	Hosts        []string `json:"hosts"`
	Applications []string `json:"applications"` // of which it has hosts
	Size         int64    `json:"size"`
	Seconds      int64    `json:"seconds,omitempty"` // that moving so much takes; 0: not known
	// Reach is how many hosts that do not move with it depend on its hosts,
	// directly or through others: whom it may hurt if it fails.
	Reach int `json:"reach"`
	// Crossing are the relations with hosts of other waves: they cross between
	// the old place and the new one for a while.
	Crossing []HostEdge `json:"crossing"`
	// Early are those of them in which the server moves later than its client:
	// hosts that depend on each other are too many for one wave.
	Early []HostEdge `json:"early,omitempty"`
}

// unit is hosts that move together.
type unit struct {
	name  string
	apps  []string
	hosts []string
	size  int64
	needs map[*unit]bool // whose services it uses
	near  map[*unit]int  // how many host edges join them
}

// Waves plans the moves of applications: no wave exceeds the limits, hosts of an
// application stay together where they fit, and a server moves no later than its
// clients, unless they depend on each other and do not fit into one wave. A host
// or a group of a user that is larger than a wave is a Conflict.
func (g *Graph) Waves(apps []Application, l Limits) ([]Wave, error) {
	edges := Hosts(g.List(Filter{Internal: true, State: Active}))
	units, err := makeUnits(apps, edges, l)
	if err != nil {
		return nil, err
	}
	p := newPlan(mergeCycles(units, l))
	var waves []Wave
	for p.left > 0 {
		waves = append(waves, p.fill(l))
	}
	cross(waves, edges)
	for i := range waves {
		w := &waves[i]
		w.Reach = len(g.blast(w.Hosts))
		if l.Rate > 0 {
			w.Seconds = (w.Size + l.Rate - 1) / l.Rate
		}
	}
	return waves, nil
}

// makeUnits makes each application a unit, or each host of one that is too large.
func makeUnits(apps []Application, edges []HostEdge, l Limits) ([]*unit, error) {
	var units []*unit
	for _, a := range apps {
		u := &unit{name: a.Name, apps: []string{a.Name}, hosts: a.Hosts, size: l.sizeOf(a.Hosts)}
		switch {
		case len(a.Hosts) == 0:
		case l.fit(len(u.hosts), u.size):
			units = append(units, u)
		case a.User:
			return nil, droveway.Errorf(droveway.Conflict, "application %q has %d hosts of size %d, more than a wave may have: raise the limits or split it", a.Name, len(a.Hosts), u.size)
		default:
			for _, h := range a.Hosts {
				one := &unit{name: h, apps: u.apps, hosts: []string{h}, size: l.Sizes[h]}
				if !l.fit(1, one.size) {
					return nil, droveway.Errorf(droveway.Conflict, "host %q of size %d is larger than a wave may be (%d): raise the limit", h, one.size, l.Size)
				}
				units = append(units, one)
			}
		}
	}
	connect(units, edges)
	return units, nil
}

func (l Limits) fit(hosts int, size int64) bool {
	return (l.Hosts == 0 || hosts <= l.Hosts) && (l.Size == 0 || size <= l.Size)
}

func (l Limits) sizeOf(hosts []string) (sum int64) {
	for _, h := range hosts {
		sum += l.Sizes[h]
	}
	return sum
}

func connect(units []*unit, edges []HostEdge) {
	of := map[string]*unit{}
	for _, u := range units {
		u.needs, u.near = map[*unit]bool{}, map[*unit]int{}
		for _, h := range u.hosts {
			of[h] = u
		}
	}
	for _, e := range edges {
		if c, s := of[e.Client], of[e.Server]; c != nil && s != nil && c != s {
			c.needs[s] = true
			c.near[s]++
			s.near[c]++
		}
	}
}

// mergeCycles makes units that depend on each other one unit, if that fits.
// What does not fit stays apart and no longer waits for each other.
func mergeCycles(units []*unit, l Limits) []*unit {
	var all []*unit
	for _, cycle := range cycles(units) {
		merged := &unit{name: cycle[0].name}
		for _, u := range cycle {
			merged.hosts = append(merged.hosts, u.hosts...)
			merged.apps = append(merged.apps, u.apps...)
			merged.size += u.size
		}
		if len(cycle) == 1 || !l.fit(len(merged.hosts), merged.size) {
			all = append(all, cycle...)
			cut(cycle)
			continue
		}
		for _, u := range cycle {
			replace(units, u, merged)
		}
		all = append(all, merged)
	}
	return all
}

func cut(cycle []*unit) {
	for _, a := range cycle {
		for _, b := range cycle {
			delete(a.needs, b)
		}
	}
}

// replace has every unit know the merged one instead of its part.
func replace(units []*unit, part, merged *unit) {
	if merged.needs == nil {
		merged.needs, merged.near = map[*unit]bool{}, map[*unit]int{}
	}
	maps.Copy(merged.needs, part.needs)
	for o, n := range part.near {
		merged.near[o] += n
	}
	for o := range part.near {
		if o.needs[part] {
			delete(o.needs, part)
			o.needs[merged] = true
		}
		o.near[merged] += o.near[part]
		delete(o.near, part)
	}
	delete(merged.needs, merged)
	delete(merged.near, merged)
}

// cycles gives the strongly connected components (R. Tarjan, Depth-first search
// and linear graph algorithms, 1972), without recursion: chains may be long.
func cycles(units []*unit) [][]*unit {
	t := tarjan{index: map[*unit]int{}, low: map[*unit]int{}, on: map[*unit]bool{}}
	for _, u := range units {
		if _, done := t.index[u]; !done {
			t.visit(u)
		}
	}
	return t.found
}

type tarjan struct {
	index, low map[*unit]int
	on         map[*unit]bool
	stack      []*unit
	found      [][]*unit
}

type visit struct {
	unit *unit
	next []*unit
}

func (t *tarjan) enter(u *unit) visit {
	t.index[u], t.low[u], t.on[u] = len(t.index), len(t.index), true
	t.stack = append(t.stack, u)
	return visit{u, sorted(u.needs)}
}

func (t *tarjan) visit(u *unit) {
	path := []visit{t.enter(u)}
	for len(path) > 0 {
		top := &path[len(path)-1]
		if len(top.next) == 0 {
			path = path[:len(path)-1]
			t.leave(top.unit)
			if len(path) > 0 {
				p := path[len(path)-1].unit
				t.low[p] = min(t.low[p], t.low[top.unit])
			}
			continue
		}
		n := top.next[0]
		top.next = top.next[1:]
		if _, done := t.index[n]; !done {
			path = append(path, t.enter(n))
		} else if t.on[n] {
			t.low[top.unit] = min(t.low[top.unit], t.index[n])
		}
	}
}

func (t *tarjan) leave(u *unit) {
	if t.low[u] != t.index[u] {
		return
	}
	from := slices.Index(t.stack, u)
	cycle := slices.Clone(t.stack[from:])
	t.stack = t.stack[:from]
	for _, c := range cycle {
		t.on[c] = false
	}
	t.found = append(t.found, cycle)
}

func sorted(set map[*unit]bool) []*unit {
	return slices.SortedFunc(maps.Keys(set), func(a, b *unit) int { return cmp.Compare(a.name, b.name) })
}

// plan is how far the moves are planned.
type plan struct {
	units  []*unit
	users  map[*unit][]*unit // of a unit's services
	unmet  map[*unit]int     // services that it uses and that do not move yet
	placed map[*unit]bool
	left   int
}

func newPlan(units []*unit) *plan {
	p := &plan{units: units, users: map[*unit][]*unit{}, unmet: map[*unit]int{}, placed: map[*unit]bool{}, left: len(units)}
	for _, u := range units {
		p.unmet[u] = len(u.needs)
		for s := range u.needs {
			p.users[s] = append(p.users[s], u)
		}
	}
	return p
}

// fill takes units whose servers have moved or move now, those nearest to the
// wave first, as long as they fit.
func (p *plan) fill(l Limits) Wave {
	var w Wave
	near := map[*unit]int{}
	for u := p.nearest(near, w, l); u != nil; u = p.nearest(near, w, l) {
		p.placed[u] = true
		p.left--
		for _, o := range p.users[u] {
			p.unmet[o]--
		}
		for o, n := range u.near {
			near[o] += n
		}
		w.Hosts = append(w.Hosts, u.hosts...)
		w.Applications = append(w.Applications, u.apps...)
		w.Size += u.size
	}
	slices.Sort(w.Hosts)
	slices.Sort(w.Applications)
	w.Applications = slices.Compact(w.Applications)
	return w
}

// nearest is the unit that may move now, fits, and talks most to the wave.
func (p *plan) nearest(near map[*unit]int, w Wave, l Limits) (best *unit) {
	for _, u := range p.units {
		if p.placed[u] || p.unmet[u] > 0 || !l.fit(len(w.Hosts)+len(u.hosts), w.Size+u.size) {
			continue
		}
		if best == nil || near[u] > near[best] || near[u] == near[best] && u.name < best.name {
			best = u
		}
	}
	return best
}

// cross finds the relations between waves.
func cross(waves []Wave, edges []HostEdge) {
	of := map[string]int{}
	for i, w := range waves {
		for _, h := range w.Hosts {
			of[h] = i
		}
	}
	for _, e := range edges {
		c, moves := of[e.Client]
		s, also := of[e.Server]
		if !moves || !also || c == s {
			continue
		}
		waves[c].Crossing = append(waves[c].Crossing, e)
		waves[s].Crossing = append(waves[s].Crossing, e)
		if s > c {
			waves[c].Early = append(waves[c].Early, e)
		}
	}
}
