package graph

import (
	"maps"
	"slices"
)

// significant is the modularity from which on a split says something (M. E. J.
// Newman and M. Girvan, Finding and evaluating community structure in networks,
// 2004): the tiers of one application stay together.
const significant = 0.3

// communities splits hosts into those that talk among themselves more than with
// the rest. A method that looks at the whole misses small communities in a large
// fleet, so each part is looked at by itself again.
func communities(l links) [][]string {
	var all [][]string
	for _, c := range components(l) {
		all = append(all, split(l.only(c))...)
	}
	for _, m := range all {
		slices.Sort(m)
	}
	slices.SortFunc(all, func(a, b []string) int { return slices.Compare(a, b) })
	return all
}

func split(l links) [][]string {
	parts := louvain(l)
	if len(parts) == 1 || modularity(l, parts) <= significant {
		return [][]string{slices.Collect(maps.Keys(l))}
	}
	var all [][]string
	for _, p := range parts {
		all = append(all, split(l.only(p))...)
	}
	return all
}

func (l links) only(hosts []string) links {
	in := map[string]bool{}
	for _, h := range hosts {
		in[h] = true
	}
	part := links{}
	for _, h := range hosts {
		part[h] = map[string]float64{}
		for o, w := range l[h] {
			if in[o] {
				part[h][o] = w
			}
		}
	}
	return part
}

func components(l links) (all [][]string) {
	seen := map[string]bool{}
	for _, h := range slices.Sorted(maps.Keys(l)) {
		if seen[h] {
			continue
		}
		seen[h] = true
		found := []string{h}
		for i := 0; i < len(found); i++ {
			for o := range l[found[i]] {
				if !seen[o] {
					seen[o] = true
					found = append(found, o)
				}
			}
		}
		all = append(all, found)
	}
	return all
}

// modularity is how much more the parts talk inside than chance would have it.
func modularity(l links, parts [][]string) (q float64) {
	part := map[string]int{}
	for i, hosts := range parts {
		for _, h := range hosts {
			part[h] = i
		}
	}
	inside, total := make([]float64, len(parts)), make([]float64, len(parts))
	sum := 0.0
	for h, peers := range l {
		for o, w := range peers {
			total[part[h]] += w
			sum += w
			if part[o] == part[h] {
				inside[part[h]] += w
			}
		}
	}
	for i := range parts {
		q += inside[i]/sum - total[i]/sum*total[i]/sum
	}
	return q
}

// louvain splits hosts by the Louvain method (V. D. Blondel et al., Fast
// unfolding of communities in large networks, 2008): each host joins the
// neighbour's community that raises the modularity most, then communities become
// hosts, until nothing changes. Everything is sorted, so the same graph gives the
// same communities.
func louvain(l links) [][]string {
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
