package graph

import (
	"maps"
	"math"
	"slices"

	"github.com/droveway/droveway"
)

// Application is hosts that belong together.
type Application struct {
	Name  string   `json:"name"`
	Hosts []string `json:"hosts"`
	User  bool     `json:"user"` // made by a user, not found
	// Shared are services that it uses with many others, such as a name server.
	Shared []string `json:"shared,omitempty"`
}

// SetGroup makes a group of hosts an application, whatever they talk to. A host
// belongs to one group: the last one that names it. No hosts delete a group.
func (g *Graph) SetGroup(group string, hosts []string) error {
	if err := droveway.ValidName("application", group); err != nil {
		return err
	}
	for name, members := range g.groups {
		members = slices.DeleteFunc(slices.Clone(members), func(h string) bool { return slices.Contains(hosts, h) })
		g.groups[name] = members
		if len(members) == 0 {
			delete(g.groups, name)
		}
	}
	delete(g.groups, group)
	if len(hosts) > 0 {
		g.groups[group] = slices.Compact(slices.Sorted(slices.Values(hosts)))
	}
	return nil
}

// Groups gives the applications that users made, to store them.
func (g *Graph) Groups() map[string][]string {
	all := map[string][]string{}
	for name, hosts := range g.groups {
		all[name] = slices.Clone(hosts)
	}
	return all
}

// A host that so many others talk to belongs to all of them, so to none.
const (
	sharedPeers = 12
	sharedPart  = 5 // of all hosts, one in so many
)

// Applications finds the applications: the groups that users made, and of the
// other hosts those that talk among themselves more than with the rest.
func (g *Graph) Applications() []Application {
	links := g.links()
	shared := sharedHosts(links)
	var apps []Application
	grouped := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(g.groups)) {
		apps = append(apps, Application{Name: name, Hosts: slices.Clone(g.groups[name]), User: true})
		for _, h := range g.groups[name] {
			grouped[h] = true
		}
	}
	free := links.without(func(h string) bool { return shared[h] || grouped[h] })
	for _, members := range communities(free) {
		apps = append(apps, Application{Name: "app-" + members[0], Hosts: members})
	}
	for _, h := range slices.Sorted(maps.Keys(shared)) {
		if !grouped[h] {
			apps = append(apps, Application{Name: "shared-" + h, Hosts: []string{h}})
		}
	}
	for i := range apps {
		apps[i].Shared = usedBy(apps[i], links, shared)
	}
	return apps
}

func usedBy(a Application, links links, shared map[string]bool) []string {
	used := map[string]bool{}
	for _, h := range a.Hosts {
		for o := range links[h] {
			if shared[o] && !slices.Contains(a.Hosts, o) {
				used[o] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// links are hosts with how strongly they talk to each other, both ways alike.
type links map[string]map[string]float64

// links weighs an edge by the logarithm of its connections: a chatty monitor is
// no closer than a database.
func (g *Graph) links() links {
	l := links{}
	for h := range g.watched {
		l[h] = map[string]float64{}
	}
	for _, e := range g.edges {
		if !e.external() && e.State == Active {
			l.add(e.Client.Host, e.Server.Host, 1+math.Log1p(float64(e.Count)))
		}
	}
	return l
}

func (l links) add(a, b string, weight float64) {
	for _, h := range []string{a, b} {
		if l[h] == nil {
			l[h] = map[string]float64{}
		}
	}
	if a != b {
		l[a][b] += weight
		l[b][a] += weight
	}
}

func (l links) without(out func(string) bool) links {
	rest := links{}
	for a, peers := range l {
		if out(a) {
			continue
		}
		rest[a] = map[string]float64{}
		for b, w := range peers {
			if !out(b) {
				rest[a][b] = w
			}
		}
	}
	return rest
}

func sharedHosts(l links) map[string]bool {
	shared := map[string]bool{}
	for h, peers := range l {
		if len(peers) > max(sharedPeers, len(l)/sharedPart) {
			shared[h] = true
		}
	}
	return shared
}

// communities splits hosts by the Louvain method (V. D. Blondel et al., Fast
// unfolding of communities in large networks, 2008): each host joins the
// neighbour's community that raises the modularity most, then communities become
// hosts, until nothing changes. Everything is sorted, so the same graph gives the
// same communities.
func communities(l links) [][]string {
	members := map[string][]string{}
	for h := range l {
		members[h] = []string{h}
	}
	self := map[string]float64{}
	for {
		of := moveHosts(l, self)
		merged, mergedSelf, mergedMembers := merge(l, self, of, members)
		done := len(merged) == len(l)
		l, self, members = merged, mergedSelf, mergedMembers
		if done {
			break
		}
	}
	all := slices.Collect(maps.Values(members))
	for _, m := range all {
		slices.Sort(m)
	}
	slices.SortFunc(all, func(a, b []string) int { return slices.Compare(a, b) })
	return all
}

// moveHosts gives each host its community; self is the weight inside a host that
// was a community.
func moveHosts(l links, self map[string]float64) map[string]string {
	names := slices.Sorted(maps.Keys(l))
	of, degree, total := map[string]string{}, map[string]float64{}, map[string]float64{}
	sum := 0.0
	for _, h := range names {
		of[h] = h
		degree[h] = 2 * self[h]
		for _, o := range slices.Sorted(maps.Keys(l[h])) {
			degree[h] += l[h][o]
		}
		total[h] = degree[h]
		sum += degree[h]
	}
	if sum == 0 {
		return of
	}
	for moved := true; moved; {
		moved = false
		for _, h := range names {
			total[of[h]] -= degree[h]
			best := bestCommunity(h, l[h], of, func(c string) float64 { return degree[h] * total[c] / sum })
			moved = moved || best != of[h]
			of[h] = best
			total[best] += degree[h]
		}
	}
	return of
}

// bestCommunity is the one whose links exceed what chance would give by most.
// It has to be clearly better, or rounding would move hosts for ever.
func bestCommunity(h string, peers map[string]float64, of map[string]string, chance func(string) float64) string {
	weights := map[string]float64{of[h]: 0}
	for _, o := range slices.Sorted(maps.Keys(peers)) {
		weights[of[o]] += peers[o]
	}
	const clearly = 1e-9
	best := of[h]
	gain := weights[best] - chance(best)
	for _, c := range slices.Sorted(maps.Keys(weights)) {
		if g := weights[c] - chance(c); g > gain+clearly {
			best, gain = c, g
		}
	}
	return best
}

// merge makes each community a host.
func merge(l links, self map[string]float64, of map[string]string, members map[string][]string) (links, map[string]float64, map[string][]string) {
	merged, inner, all := links{}, map[string]float64{}, map[string][]string{}
	for _, a := range slices.Sorted(maps.Keys(l)) {
		c := of[a]
		all[c] = append(all[c], members[a]...)
		inner[c] += self[a]
		if merged[c] == nil {
			merged[c] = map[string]float64{}
		}
		for _, b := range slices.Sorted(maps.Keys(l[a])) {
			switch w := l[a][b]; {
			case of[b] != c:
				merged[c][of[b]] += w
			case a < b:
				inner[c] += w
			}
		}
	}
	return merged, inner, all
}
