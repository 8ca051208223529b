package discover

import (
	"math"
	"slices"
	"time"
)

// clocks knows how the clocks of hosts differ. Nothing depends on their being
// synchronised: a match of both ends of a connection gives the difference of two
// clocks up to half a round trip, the differences of many pairs give the time of
// every host by least squares, and the arrival of reports gives a coarse time for
// hosts without any match.
type clocks struct {
	// A fleet has very many pairs of hosts that talk, and each pass of the least
	// squares goes through all of them: they lie side by side, without pointers.
	pairs   map[[2]uint32]uint32 // [client, server]: number of the pair
	samples []samples            // by pair
	middles []float64            // by pair: the median of its samples
	edges   [][]clockEdge        // by host
	coarse  []coarse             // by host
	fine    []float64            // by host: own time minus ours, in nanoseconds
	group   []uint32             // by host: hosts joined by matches have the same
	dirty   bool
	says    []float64
}

type clockEdge struct {
	other  uint32
	pair   uint32
	client bool // the other is
}

// samples keeps the last few of a difference.
type samples struct {
	last   [9]int64
	n      int
	middle int64
	fresh  bool // the middle is to be found anew
}

func (s *samples) add(d int64) {
	s.last[s.n%len(s.last)] = d
	s.n++
	s.fresh = true
}

func (s *samples) kept() []int64 { return s.last[:min(s.n, len(s.last))] }

// median withstands a few wrong samples and follows a clock that was set.
func (s *samples) median() int64 {
	if s.fresh {
		sorted := s.last
		k := sorted[:len(s.kept())]
		slices.Sort(k)
		s.middle, s.fresh = k[len(k)/2], false
	}
	return s.middle
}

// enough reports whether the median is worth more than the detour through others.
func (s *samples) enough() bool { return s.n >= 3 }

// The widths within which a difference of clocks is known.
const (
	fineWidth   = 12 * time.Millisecond
	coarseWidth = 250 * time.Millisecond
)

func newClocks() *clocks { return &clocks{pairs: map[[2]uint32]uint32{}} }

func (c *clocks) grow() {
	c.edges = append(c.edges, nil)
	c.coarse = append(c.coarse, coarse{})
	c.fine = append(c.fine, math.NaN())
	c.group = append(c.group, uint32(len(c.group)))
}

// coarse is our time minus a host's, from when its reports arrive: the smallest
// delay is nearest to the truth. Reports that waited in a spool come with large
// delays that shrink; a clock that was set shows a delay that stays.
type coarse struct {
	samples
	value int64
}

const steady = int64(time.Second)

// arrived notes when a report with its own time arrived.
func (c *clocks) arrived(h uint32, own, received int64) {
	k := &c.coarse[h]
	k.add(received - own)
	least, most := slices.Min(k.kept()), slices.Max(k.kept())
	switch {
	case k.n == 1, least < k.value:
		k.value = least
	case k.n >= len(k.last) && most-least < steady:
		k.value = least
	}
}

// ours turns a time of a host into ours, coarsely.
func (c *clocks) ours(h uint32, t int64) int64 { return t + c.coarse[h].value }

// doubt is how far a difference may be from the coarse one: a host that lies
// about its times must not shift those of others.
const doubt = int64(2 * time.Second)

// matched notes that the same connection opened at two times of two clocks.
func (c *clocks) matched(client, server uint32, opened, accepted int64) {
	if client == server || abs(c.ours(server, accepted)-c.ours(client, opened)) > doubt {
		return
	}
	k := [2]uint32{client, server}
	p, known := c.pairs[k]
	if !known {
		p = uint32(len(c.samples))
		c.pairs[k] = p
		c.samples, c.middles = append(c.samples, samples{}), append(c.middles, 0)
		c.edges[server] = append(c.edges[server], clockEdge{client, p, true})
		c.edges[client] = append(c.edges[client], clockEdge{server, p, false})
		c.join(client, server)
	}
	c.samples[p].add(accepted - opened)
	c.dirty = true
}

func (c *clocks) root(h uint32) uint32 {
	for c.group[h] != h {
		c.group[h] = c.group[c.group[h]]
		h = c.group[h]
	}
	return h
}

func (c *clocks) join(a, b uint32) { c.group[c.root(a)] = c.root(b) }

// ahead is how far the server's clock is ahead of the client's, and within which
// width that is certain.
func (c *clocks) ahead(client, server uint32) (d, width time.Duration) {
	if p, known := c.pairs[[2]uint32{client, server}]; known && c.samples[p].enough() {
		return time.Duration(c.samples[p].median()), fineWidth
	}
	return c.through(client, server)
}

// through is the same by what others say of both.
func (c *clocks) through(client, server uint32) (d, width time.Duration) {
	if client == server {
		return 0, fineWidth
	}
	f := c.fine[server] - c.fine[client]
	if !math.IsNaN(f) && c.root(client) == c.root(server) {
		return time.Duration(f), fineWidth
	}
	return time.Duration(c.ours(client, 0) - c.ours(server, 0)), coarseWidth
}

// Each pass takes the differences one host further; a fleet is a small world.
const clockPasses = 30

// solve gives every host that has a match its time by least squares without
// outliers: the normal equations by Gauss-Seidel, starting from the solution
// before.
func (c *clocks) solve() {
	if !c.dirty {
		return
	}
	c.dirty = false
	for p := range c.samples {
		c.middles[p] = float64(c.samples[p].median())
	}
	for h, edges := range c.edges {
		if math.IsNaN(c.fine[h]) && len(edges) > 0 {
			c.fine[h] = -float64(c.ours(uint32(h), 0))
		}
	}
	for range clockPasses {
		moved := 0.0
		for h, edges := range c.edges {
			moved = max(moved, c.relax(h, edges))
		}
		if moved < float64(100*time.Microsecond) {
			return
		}
	}
}

// relax moves a host to where its neighbours say that it is, leaving out those
// who are far from most of them.
func (c *clocks) relax(h int, edges []clockEdge) float64 {
	if len(edges) == 0 {
		return 0
	}
	c.says = c.says[:0]
	for _, e := range edges {
		ahead := c.middles[e.pair]
		if !e.client {
			ahead = -ahead
		}
		c.says = append(c.says, c.fine[e.other]+ahead)
	}
	slices.Sort(c.says)
	middle, sum, n := c.says[len(c.says)/2], 0.0, 0.0
	for _, s := range c.says {
		if math.Abs(s-middle) <= float64(coarseWidth) {
			sum += s
			n++
		}
	}
	before := c.fine[h]
	c.fine[h] = sum / n
	return math.Abs(c.fine[h] - before)
}
