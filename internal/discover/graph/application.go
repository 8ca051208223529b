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
	for e := range g.edges.all() {
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
