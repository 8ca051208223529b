package pattern

import (
	"cmp"
	"slices"
	"time"
)

// Hit is a connection that somebody heard and that lasted as long as one of the
// connections that were sent.
type Hit struct {
	Source uint32        // the address it came from, as a number
	Member uint32        // who heard it
	Shot   int           // which of the pattern it could be
	Offset time.Duration // heard at minus sent at
}

// Votes is how many different connections of the pattern a member heard.
type Votes struct {
	Member uint32
	Count  int
}

// Match is the best explanation of the hits.
type Match struct {
	Source   uint32
	Offset   time.Duration // middle of the hits
	Count    int           // different connections of the pattern
	RunnerUp int           // the same of the best other explanation
	Members  []Votes       // most first
}

// memberVotes is how many connections a member of a balanced pool must have
// heard: one can be chance.
const memberVotes = 2

// ambiguous is how near the runner-up may come: two patterns share at most three
// connections, a chance match has one or two.
const ambiguous = 2

// Clear reports whether the match is beyond doubt.
func (m Match) Clear() bool { return m.Count >= Accept && m.Count-m.RunnerUp >= ambiguous }

// Best is the matched filter: it looks for the source from which the most
// different connections of a pattern came at one offset, whoever heard them, as a
// load balancer spreads them. Width is the width of an offset: twice the jitter.
// It sorts the hits.
func Best(hits []Hit, width time.Duration) Match {
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Offset, b.Offset))
	})
	var best window
	eachWindow(hits, width, func(w window) {
		if w.count > best.count {
			best = w
		}
	})
	if best.count == 0 {
		return Match{}
	}
	m := best.match(hits)
	eachWindow(hits, width, func(w window) {
		if m.RunnerUp < w.count && !w.overlaps(hits, m, width) {
			m.RunnerUp = w.count
		}
	})
	return m
}

// window is the hits [from, to) of one source within the width.
type window struct{ from, to, count int }

func (w window) overlaps(hits []Hit, m Match, width time.Duration) bool {
	h := hits[w.from]
	return h.Source == m.Source && (h.Offset-m.Offset).Abs() <= 2*width
}

// eachWindow slides over the sorted hits: one step for each hit.
func eachWindow(hits []Hit, width time.Duration, fn func(window)) {
	var seen [Length]int
	from, count := 0, 0
	for to, h := range hits {
		if seen[h.Shot]++; seen[h.Shot] == 1 {
			count++
		}
		for hits[from].Source != h.Source || h.Offset-hits[from].Offset > width {
			if seen[hits[from].Shot]--; seen[hits[from].Shot] == 0 {
				count--
			}
			from++
		}
		fn(window{from, to + 1, count})
	}
}

func (w window) match(hits []Hit) Match {
	in := hits[w.from:w.to]
	heard := map[uint32]map[int]bool{}
	for _, h := range in {
		if heard[h.Member] == nil {
			heard[h.Member] = map[int]bool{}
		}
		heard[h.Member][h.Shot] = true
	}
	m := Match{Source: in[0].Source, Count: w.count, Offset: (in[0].Offset + in[len(in)-1].Offset) / 2}
	for member, shots := range heard {
		if len(shots) >= memberVotes {
			m.Members = append(m.Members, Votes{member, len(shots)})
		}
	}
	slices.SortFunc(m.Members, func(a, b Votes) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Member, b.Member))
	})
	if len(m.Members) > 0 && m.Members[0].Count >= Accept {
		m.Members = m.Members[:1] // one heard it all: the others are chance
	}
	return m
}
