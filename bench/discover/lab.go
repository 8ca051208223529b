package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// labResult is what many runs in real networks gave. Everybody talks to somebody
// by chance in each: through a masquerade, a carrier's translator, a forwarded
// port, a load balancer, a hairpin, and directly; the public address changes
// meanwhile, strangers open connections, and clocks are off.
type labResult struct {
	Runs    int     `json:"runs"`
	Exact   int     `json:"exact"` // runs without a wrong or a missing pair of processes
	Truth   int     `json:"truth"` // pairs of hosts and port, of all runs
	Seconds float64 `json:"seconds"`
	Scores  []score `json:"scores"`
}

// The lab's hosts with probes. Three of them have the same address.
var labHosts = []string{"a1", "a2", "a3", "b1", "b2", "c1", "c2"}

const (
	labPatience = 30 * time.Second
	labSettle   = 2 * time.Second // for what is wrong to show
	neighbour   = "10.1.0.11:80"  // a1 to its neighbours; others have the address elsewhere
	direct      = "10.2.0.11:80"  // b1 to its neighbours
)

// labRun is one run.
type labRun struct {
	*stage
	network   *probetest.Network
	random    *rand.Rand
	clients   map[string]*probetest.Client
	servers   map[int]string // host, by process
	reports   chan discover.Report
	told      map[string]bool      // hosts that reported
	orders    map[string]io.Writer // to the probes of hosts
	blind     bool                 // sequence numbers are struck out
	joiner    *discover.Joiner
	graph     *graph.Graph
	baselines []*baseline
	hosts     map[pair]bool // the truth
	processes map[pair]bool // the same, for processes
}

// measureLab makes so many runs, one after the other.
func measureLab(runs int, seed uint64) (*labResult, error) {
	r := &labResult{Runs: runs}
	begun := time.Now()
	sum := map[string]*score{}
	names := []string{"isn", "processes", "baseline 5-tuple", "baseline host-conntrack"}
	for i := range runs {
		fmt.Fprintf(os.Stderr, "lab, run %d of %d …\n", i+1, runs)
		l, err := runLab(seed + uint64(i))
		if err != nil {
			return nil, fmt.Errorf("run %d in the lab: %w", i+1, err)
		}
		r.Truth += len(l.hosts)
		for name, pairs := range l.found() {
			truth := l.hosts
			if name == "processes" {
				truth = l.processes
			}
			sum[name] = tally(sum[name], pairs, truth)
		}
		if maps.Equal(l.foundProcesses(), l.processes) {
			r.Exact++
		}
	}
	for _, name := range names {
		s := sum[name]
		s.Evidence = name
		s.Precision, s.Recall = share(s.Found-s.Wrong, s.Found), share(s.Found-s.Wrong, s.truth)
		s.Pairs = s.Recall
		r.Scores = append(r.Scores, *s)
	}
	r.Seconds = time.Since(begun).Seconds()
	return r, nil
}

// tally adds what one run found to the score of all.
func tally(s *score, found, truth map[pair]bool) *score {
	if s == nil {
		s = &score{}
	}
	s.truth += len(truth)
	s.Found += len(found)
	for p := range found {
		if !truth[p] {
			s.Wrong++
		}
	}
	return s
}

func newLabRun(random *rand.Rand) *labRun {
	return &labRun{
		stage: &stage{}, random: random,
		clients: map[string]*probetest.Client{}, servers: map[int]string{},
		reports: make(chan discover.Report, 100), told: map[string]bool{}, orders: map[string]io.Writer{},
		joiner: discover.New(discover.Limits{}), graph: graph.New(graph.Config{}),
		hosts: map[pair]bool{}, processes: map[pair]bool{},
	}
}

func runLab(seed uint64) (l *labRun, err error) {
	l = newLabRun(rand.New(rand.NewPCG(seed, 5)))
	l.baselines = []*baseline{newFiveTuple(), newOwners(reported)}
	defer l.end(&err)
	l.set()
	l.talk(2)
	l.network.Rotate()
	l.talk(2)
	l.await(func() bool { return len(l.foundProcesses()) >= len(l.processes) }) // what is missing then, the score tells
	l.listen(labSettle)
	return l, nil
}

// set makes the network with all that is in it. One connection is open before
// there is a probe.
func (l *labRun) set() {
	l.network = probetest.New(l)
	l.network.Hairpin()
	l.people()
	l.dial("a3", probetest.Forward, true)
	l.network.Noise(probetest.Forward, probetest.Balanced)
	l.watch()
}

// talk has everybody open connections, or not.
func (l *labRun) talk(most int) {
	for _, h := range labHosts {
		to := []string{probetest.Forward, probetest.Balanced}
		switch h {
		case "a2", "a3":
			to = append(to, neighbour)
		case "b2":
			to = append(to, direct)
		}
		for range l.random.IntN(most + 1) {
			l.dial(h, to[l.random.IntN(len(to))], l.random.IntN(3) == 0)
		}
	}
}

func (l *labRun) dial(host, address string, hold bool) {
	d := l.clients[host].Dial("tcp", address, hold)
	server := l.servers[d.Server]
	if server == host {
		return // no relation of two hosts
	}
	l.hosts[pair{host, server, 80}] = true
	l.processes[pair{process(host, d.Client), process(server, d.Server), 80}] = true
}

func process(host string, pid int) string { return fmt.Sprint(host, "/", pid) }

// await takes reports until something is so, or for long enough.
func (l *labRun) await(is func() bool) bool {
	for end := time.Now().Add(labPatience); !is(); {
		if time.Now().After(end) {
			return false
		}
		l.listen(100 * time.Millisecond)
	}
	return true
}

// listen takes reports for some time.
func (l *labRun) listen(d time.Duration) {
	after := time.After(d)
	for {
		select {
		case r := <-l.reports:
			l.take(r)
		case <-after:
			l.apply(l.joiner.Advance(time.Now()))
			return
		}
	}
}

func (l *labRun) take(r discover.Report) {
	now := time.Now()
	l.told[r.Host] = true
	for i := range r.Connections {
		if l.blind {
			r.Connections[i].ISN = 0
		}
	}
	for _, b := range l.baselines {
		b.add([]discover.Report{r}, now)
	}
	l.apply(l.joiner.Add(r, now))
}

func (l *labRun) apply(all []discover.Finding) {
	for _, f := range all {
		l.graph.Apply(f)
	}
}

// found is what each way of joining gave.
func (l *labRun) found() map[string]map[pair]bool {
	all := map[string]map[pair]bool{
		"isn":       others(found(l.graph.List(graph.Filter{Internal: true}), "")),
		"processes": l.foundProcesses(),
	}
	for _, b := range l.baselines {
		all["baseline "+b.name] = others(b.pairs)
	}
	return all
}

// others leaves out what a host has with itself.
func others(all map[pair]bool) map[pair]bool {
	maps.DeleteFunc(all, func(p pair, _ bool) bool { return p.client == p.server })
	return all
}

func (l *labRun) foundProcesses() map[pair]bool {
	pairs := map[pair]bool{}
	for _, e := range l.graph.List(graph.Filter{Internal: true}) {
		for _, c := range e.ClientPIDs {
			for _, s := range e.ServerPIDs {
				if e.Client.Host != e.Server.Host {
					pairs[pair{process(e.Client.Host, c), process(e.Server.Host, s), e.Port}] = true
				}
			}
		}
	}
	return pairs
}
