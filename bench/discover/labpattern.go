package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/allot"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// patternResult is what patterns alone gave in real networks: sequence numbers are
// struck out of all reports, as if every box in between chose its own, and one
// that really does is there too, a proxy. Strangers and clocks are as in the runs
// with sequence numbers.
type patternResult struct {
	Runs      int     `json:"runs"`
	Relations int     `json:"relations"` // a host uses an endpoint, of all runs
	Patterns  int     `json:"patterns"`
	Seconds   float64 `json:"seconds"`
	Score     score   `json:"score"`
}

// patternPatience is how long all patterns of a run may take: two rounds each, and
// only so many at a time to one endpoint.
const patternPatience = 8 * time.Minute

// member is a server behind an endpoint.
type member = string

// endpoints are what hosts dial, with the servers behind.
var endpoints = map[string][]member{
	probetest.Forward:  {"b1"},
	probetest.Balanced: {"b1", "b2"},
	probetest.Proxied:  {"b1"},
	neighbour:          {"a1"},
	direct:             {"b1"},
}

// patternRun is one run.
type patternRun struct {
	*labRun
	allotter *allot.Allotter
	truth    truth
	patterns int
}

func measurePatterns(runs int, seed uint64) (*patternResult, error) {
	r := &patternResult{Runs: runs, Score: score{Evidence: string(discover.Pattern), Precision: 1, Recall: 1, Pairs: 1}}
	begun := time.Now()
	var all truth
	seen := map[pair]bool{}
	for i := range runs {
		fmt.Fprintf(os.Stderr, "lab with patterns alone, run %d of %d …\n", i+1, runs)
		p, err := runPatterns(seed + uint64(i))
		if err != nil {
			return nil, fmt.Errorf("run %d with patterns in the lab: %w", i+1, err)
		}
		r.Patterns += p.patterns
		all.add(fmt.Sprint(i, "/"), p.truth)
		for k := range p.heard() {
			seen[k.of(fmt.Sprint(i, "/"))] = true
		}
	}
	r.Relations, r.Seconds = len(all.relations), time.Since(begun).Seconds()
	r.Score = all.score(string(discover.Pattern), seen)
	return r, nil
}

// of makes a pair one of a run.
func (p pair) of(run string) pair { return pair{run + p.client, run + p.server, p.port} }

// add adds the truth of a run to that of others.
func (u *truth) add(run string, more truth) {
	if u.right == nil {
		u.right, u.reached = map[pair]bool{}, map[pair]bool{}
	}
	for p := range more.right {
		u.right[p.of(run)] = true
	}
	for p := range more.reached {
		u.reached[p.of(run)] = true
	}
	for _, some := range more.relations {
		var named []pair
		for _, p := range some {
			named = append(named, p.of(run))
		}
		u.relations = append(u.relations, named)
	}
}

func runPatterns(seed uint64) (p *patternRun, err error) {
	random := rand.New(rand.NewPCG(seed, 7))
	a, err := allot.New(allot.Policy{Sites: []string{site}}, random.Uint32)
	if err != nil {
		return nil, err
	}
	p = &patternRun{labRun: newLabRun(random), allotter: a, truth: truth{right: map[pair]bool{}, reached: map[pair]bool{}}}
	p.blind = true
	defer p.end(&err)
	p.network = probetest.New(p)
	p.network.Hairpin()
	p.network.Proxy()
	p.people()
	p.network.Noise(probetest.Forward, probetest.Balanced)
	p.watch()
	p.uses()
	p.rounds()
	return p, nil
}

// uses has every host use some of the endpoints, by a connection that it holds.
func (p *patternRun) uses() {
	for _, h := range labHosts {
		to := []string{probetest.Forward, probetest.Balanced, probetest.Proxied}
		switch h {
		case "a2", "a3":
			to = append(to, neighbour)
		case "b2":
			to = []string{probetest.Balanced, direct}
		case "b1": // by the balancer it would reach itself
			to = nil
		}
		p.random.Shuffle(len(to), func(i, k int) { to[i], to[k] = to[k], to[i] })
		for _, at := range to[:min(2, len(to))] {
			p.use(h, at)
		}
	}
}

func (p *patternRun) use(host, at string) {
	p.clients[host].Dial("tcp", at, true)
	var all []pair
	for _, m := range endpoints[at] {
		if m == host {
			continue
		}
		k := pair{host, by(m, at), 80}
		all = append(all, k)
		p.truth.right[k], p.truth.reached[k] = true, true
	}
	p.truth.relations = append(p.truth.relations, all)
}

// rounds has patterns emitted until it is known what became of each.
func (p *patternRun) rounds() {
	begun := time.Now()
	// There was no allotter before whose patterns could still be under way.
	p.allotter.Next(begun.Add(-time.Hour), p.joiner.Offset)
	for time.Since(begun) < patternPatience {
		p.listen(time.Second)
		now := time.Now()
		for _, o := range p.joiner.Outcomes() {
			p.allotter.Outcome(o, now)
		}
		if left := p.offer(now); left == 0 && p.patterns > 0 {
			return
		}
		for _, o := range p.allotter.Next(now, p.joiner.Offset) {
			p.joiner.Expect(o.Expect)
			p.order(o)
			p.patterns++
		}
	}
}

// offer gives the allotter what hosts dial, and says of how much it is not known
// yet what comes of it.
func (p *patternRun) offer(now time.Time) (left int) {
	known := 0
	for f := range p.joiner.Flows() {
		if _, is := endpoints[f.Dialled.String()]; !is || f.Service == (discover.Service{}) {
			continue
		}
		known++
		c := allot.Candidate{Host: f.Host, Site: site, Service: f.Service, PID: f.PID, Destination: f.Dialled}
		p.allotter.Offer(c, now)
		switch s, _ := p.allotter.State(c); s {
		case allot.Confirmed, allot.Ambiguous, allot.Silent, allot.Unreachable:
		default:
			left++
		}
	}
	p.allotter.Advance(now)
	return left + max(0, len(p.truth.relations)-known)
}

func (p *patternRun) order(o allot.Order) {
	if err := json.NewEncoder(p.orders[o.Host]).Encode(o.Assignment); err != nil {
		p.Fatalf("order a pattern of %s: %v", o.Host, err)
	}
}

// by names a server as it is reached: a host may use it by several endpoints.
func by(m member, at string) string { return m + " by " + at }

// heard is what patterns showed: each way of each relation.
func (p *patternRun) heard() map[pair]bool {
	pairs := map[pair]bool{}
	for _, e := range p.graph.List(graph.Filter{Internal: true}) {
		if !slices.ContainsFunc(e.Evidence, func(v graph.Evidence) bool { return v.Kind == discover.Pattern }) {
			continue
		}
		for _, w := range e.Paths {
			if e.Client.Host == e.Server.Host {
				continue // a member of a pool may reach itself
			}
			pairs[pair{e.Client.Host, by(e.Server.Host, w.Dialled.String()), e.Port}] = true
		}
	}
	return pairs
}

// people are the servers and clients of the network.
func (l *labRun) people() {
	for _, h := range []string{"a1", "b1", "b2", "c1", "c2"} {
		l.servers[l.network.Server(h, "tcp/:80")] = h
	}
	for _, h := range labHosts {
		l.clients[h] = l.network.Client(h)
	}
}

// watch starts the probes, and waits until all of them report.
func (l *labRun) watch() {
	for _, h := range labHosts {
		l.probe(h, time.Duration((l.random.Float64()*2-1)*float64(clockError)))
	}
	if !l.await(func() bool { return len(l.told) == len(labHosts) }) {
		l.Fatalf("after %s only these probes report: %v", labPatience, slices.Sorted(maps.Keys(l.told)))
	}
}
