package main

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/allot"
	"github.com/droveway/droveway/internal/discover/discovertest"
	"github.com/droveway/droveway/internal/discover/graph"
)

// setting is one measurement.
type setting struct {
	Name      string
	Hosts     int
	NoISN     bool
	Baselines bool
	Patterns  time.Duration // how long patterns are emitted, after the window
}

const (
	every    = 10 * time.Second // reports
	decoded  = 50               // one report in so many is decoded from JSON, for its cost
	settling = 4 * time.Minute  // without traffic, at the end
	site     = "simulated"
)

// trial is a measurement under way.
type trial struct {
	setting
	fleet     *fleet
	joiner    *discover.Joiner
	graph     *graph.Graph
	allotter  *allot.Allotter
	baselines []*baseline
	orders    []allot.Order
	paths     map[pathKey]*relation

	now    time.Time
	result result
	decode struct {
		took   time.Duration
		events int
	}
}

// pathKey finds the relation whose destination a pattern is for.
type pathKey struct {
	client  string
	dialled string
}

func measure(s setting, seed uint64) result {
	debug.FreeOSMemory()
	t := &trial{
		setting: s, fleet: newFleet(s, seed), joiner: discover.New(discover.Limits{}), graph: graph.New(graph.Config{}),
		now: discovertest.Start, paths: map[pathKey]*relation{},
	}
	t.result.Name, t.result.Hosts, t.result.Relations = s.Name, s.Hosts, len(t.fleet.relations)
	if s.Baselines {
		t.baselines = []*baseline{newFiveTuple(), newOwners(t.fleet.known)}
	}
	for end := t.now.Add(window); t.now.Before(end); {
		t.step(true)
	}
	if s.Patterns > 0 {
		t.patterns(seed)
	}
	for end := t.now.Add(settling); t.now.Before(end); {
		t.step(false)
	}
	t.result.finish(t)
	return t.result
}

// held is the memory that this process has, in MiB: the simulation too.
func held() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys-m.HeapReleased) / (1 << 20)
}

// processor is the time that all processors spent on this process.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // with these arguments it cannot fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (r *result) spent(start time.Time, cpu time.Duration) {
	r.took += time.Since(start)
	r.cpu += processor() - cpu
}

// step lets every host report once.
func (t *trial) step(traffic bool) {
	if traffic {
		t.result.Connections += t.fleet.pass(t.now, every)
	}
	t.now = t.now.Add(every)
	t.emit()
	reports := make([]discover.Report, 0, len(t.fleet.hosts))
	for _, h := range t.fleet.hosts {
		reports = append(reports, h.Report(t.now))
	}
	t.decodeSome(reports)
	for _, b := range t.baselines {
		b.add(reports, t.now)
	}
	t.analyse(reports)
}

// decodeSome measures what a report costs before it is joined.
func (t *trial) decodeSome(reports []discover.Report) {
	for i := 0; i < len(reports); i += decoded {
		b, err := json.Marshal(reports[i])
		if err != nil {
			panic(err) // a report always has JSON
		}
		start := time.Now()
		if _, err := discover.Decode(reports[i].Host, b); err != nil {
			panic(err) // and what the simulation makes is always valid
		}
		t.decode.took += time.Since(start)
		t.decode.events += len(reports[i].Connections)
	}
}

// analyse is what is measured: from reports to the graph.
func (t *trial) analyse(reports []discover.Report) {
	r := t.fleet.world.Rand
	start, cpu := time.Now(), processor()
	for _, rep := range reports {
		latency := 5*time.Millisecond + time.Duration(r.ExpFloat64()*float64(15*time.Millisecond))
		t.apply(t.joiner.Add(rep, t.now.Add(latency)))
		t.result.Events += len(rep.Connections)
	}
	t.apply(t.joiner.Advance(t.now))
	if t.now.Sub(discovertest.Start)%time.Minute == 0 {
		t.age()
	}
	t.graph.Changes(math.MaxInt, graph.Always)
	t.result.spent(start, cpu)
	t.result.PeakMiB = max(t.result.PeakMiB, held())
}

// age lets edges get old, which the product does every minute too.
func (t *trial) age() {
	for _, h := range t.fleet.hosts {
		if c, ok := t.joiner.Coverage(h.Name); ok {
			t.graph.Watch(c)
		}
	}
	t.graph.Advance(t.now)
}

func (t *trial) apply(all []discover.Finding) {
	for _, f := range all {
		t.graph.Apply(f)
	}
}

// patterns has all flows without good evidence probed, twice, beside the natural
// traffic.
func (t *trial) patterns(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 99))
	a, err := allot.New(allot.Policy{Sites: []string{site}}, random.Uint32)
	if err != nil {
		panic(err) // the policy is a constant
	}
	t.allotter = a
	for _, r := range t.fleet.relations {
		l := t.fleet.link(r)
		t.paths[pathKey{l.Client.Name, l.Dialled.String()}] = r
	}
	for end := t.now.Add(t.Patterns); t.now.Before(end) && t.pending(); {
		t.order()
		t.step(true)
		for _, o := range t.joiner.Outcomes() {
			a.Outcome(o, t.now)
		}
	}
}

// pending offers what has to be probed, and says whether there is anything left.
func (t *trial) pending() bool {
	left := false
	for f := range t.joiner.Flows() {
		c := allot.Candidate{Host: f.Host, Site: site, Service: f.Service, PID: f.PID, Destination: f.Dialled}
		t.allotter.Offer(c, t.now)
		switch s, _ := t.allotter.State(c); s {
		case allot.Confirmed, allot.Ambiguous, allot.Silent, allot.Unreachable:
		default:
			left = true
		}
	}
	t.allotter.Advance(t.now)
	return left
}

func (t *trial) order() {
	for s := time.Duration(0); s < every; s += time.Second {
		start, cpu := time.Now(), processor()
		orders := t.allotter.Next(t.now.Add(s), t.joiner.Offset)
		for _, o := range orders {
			t.joiner.Expect(o.Expect)
		}
		t.result.spent(start, cpu)
		t.orders = append(t.orders, orders...)
	}
}

// emit carries out the orders that are over by now.
func (t *trial) emit() {
	var later []allot.Order
	for _, o := range t.orders {
		if o.Expect.Expires.Add(-30 * time.Second).After(t.now) {
			later = append(later, o)
			continue
		}
		h := t.fleet.world.Hosts[o.Host]
		rel := t.paths[pathKey{o.Host, o.Assignment.Destination.String()}]
		t.fleet.world.Emit(h, o.Assignment, func(int) discovertest.Link { return t.fleet.link(rel) })
		t.result.Patterns++
		t.allotter.Emitted(o.Host, []discover.Emission{{Pattern: o.Assignment.Pattern}}, t.now)
	}
	t.orders = later
}
