package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/graph"
)

// report is bench-discover.json.
type report struct {
	verdict.Setting
	Seed     uint64         `json:"seed"`
	Lab      *labResult     `json:"lab,omitempty"`
	Patterns *patternResult `json:"lab_with_patterns_alone,omitempty"`
	Results  []result       `json:"results"`
	Bars     []verdict.Bar  `json:"bars"`
}

// result is one measurement.
type result struct {
	Name        string  `json:"name"`
	Hosts       int     `json:"hosts"`
	Relations   int     `json:"relations"`
	Connections int     `json:"connections"`
	Events      int     `json:"events"` // ends of connections that probes reported
	Patterns    int     `json:"patterns"`
	Seconds     float64 `json:"analysis_seconds"`
	Processor   float64 `json:"analysis_cpu_seconds"` // of all cores, with the collector
	PerEvent    float64 `json:"analysis_cpu_us_per_event"`
	Decode      float64 `json:"decode_us_per_event"`
	PeakMiB     float64 `json:"peak_mib"` // of the process, with the simulation
	Scores      []score `json:"scores"`

	took, cpu time.Duration
}

// score is how exact one kind of evidence is.
type score struct {
	Evidence string `json:"evidence"`
	Found    int    `json:"found"` // client host, server host and port
	Wrong    int    `json:"wrong"`
	// Precision is of what was found; a member of a pool is right if the client
	// uses the pool.
	Precision float64 `json:"precision"`
	// Recall is of the relations: a client uses an endpoint.
	Recall float64 `json:"recall"`
	// Pairs is of the pairs of hosts that had traffic.
	Pairs float64 `json:"recall_pairs"`

	truth int
}

func (r *result) finish(t *trial) {
	r.Seconds = r.took.Seconds()
	r.Processor = r.cpu.Seconds()
	r.PerEvent = r.Processor * 1e6 / float64(max(r.Events, 1))
	r.Decode = t.decode.took.Seconds() * 1e6 / float64(max(t.decode.events, 1))
	truth := t.truth()
	edges := t.graph.List(graph.Filter{Internal: true})
	r.Scores = append(r.Scores, truth.score("all", found(edges, "")))
	for _, k := range discover.Kinds() {
		if pairs := found(edges, k); len(pairs) > 0 {
			r.Scores = append(r.Scores, truth.score(string(k), pairs))
		}
	}
	for _, b := range t.baselines {
		r.Scores = append(r.Scores, truth.score("baseline "+b.name, b.pairs))
	}
}

func found(edges []graph.Edge, kind discover.Evidence) map[pair]bool {
	pairs := map[pair]bool{}
	for _, e := range edges {
		for _, v := range e.Evidence {
			if kind == "" || v.Kind == kind {
				pairs[pair{e.Client.Host, e.Server.Host, e.Port}] = true
			}
		}
	}
	return pairs
}

// truth is what there is to find.
type truth struct {
	right     map[pair]bool
	reached   map[pair]bool
	relations [][]pair
}

// truth leaves out what had no traffic in the window: nobody can find that.
func (t *trial) truth() truth {
	u := truth{right: map[pair]bool{}, reached: t.fleet.reached}
	for _, r := range t.fleet.relations {
		var all []pair
		had := false
		for _, m := range r.endpoint.members {
			p := pair{t.fleet.hosts[r.client].Name, m.Name, r.endpoint.port}
			all = append(all, p)
			u.right[p] = true
			had = had || u.reached[p]
		}
		if had {
			u.relations = append(u.relations, all)
		}
	}
	return u
}

func (u truth) score(name string, found map[pair]bool) score {
	s := score{Evidence: name, Found: len(found)}
	for p := range found {
		if !u.right[p] {
			s.Wrong++
		}
	}
	s.Precision = share(s.Found-s.Wrong, s.Found)
	n := 0
	for _, all := range u.relations {
		for _, p := range all {
			if found[p] {
				n++
				break
			}
		}
	}
	s.Recall = share(n, len(u.relations))
	n = 0
	for p := range u.reached {
		if found[p] {
			n++
		}
	}
	s.Pairs = share(n, len(u.reached))
	return s
}

func share(n, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}

// growth is how much more an event may cost in a fleet four times as large: it is
// constant, but for the caches of the processor.
const growth = 1.3

// judgeFleets compares with what must be reached.
func (r *report) judgeFleets() {
	small, large, timing, patterns := r.Results[1], r.Results[3], r.Results[4], r.Results[5]
	for _, x := range []result{large, timing} {
		// The time of processors, not that on the wall, which says nothing on a busy
		// machine. There this is more as well, up to twice as much: caches are shared.
		r.bar(fmt.Sprintf("%s, %d hosts: analysis, time of processors", x.Name, x.Hosts), x.Processor, verdict.AtMost, 60, "s")
		r.bar(fmt.Sprintf("%s, %d hosts: memory", x.Name, x.Hosts), x.PeakMiB, verdict.Below, maxMiB, "MiB")
	}
	r.bar("cost of an event, largest fleet by smallest", large.PerEvent/small.PerEvent, verdict.AtMost, growth, "×")
	r.exact("simulation", large.Scores, "isn", 1, 0.995)
	r.exact("simulation", timing.Scores, "timing", 0.999, 0)
	r.exact("simulation", patterns.Scores, "pattern", 0.999, 0.995)
}

func (r *report) judgeLab() {
	r.bar("lab: runs without a wrong or missing pair of processes", float64(r.Lab.Exact), verdict.AtLeast, float64(r.Lab.Runs), "")
	r.exact("lab", r.Lab.Scores, "isn", 1, 1)
	r.exact("lab with patterns alone", []score{r.Patterns.Score}, "pattern", 0.999, 0.995)
}

// exact holds a kind of evidence against what it has to reach. One that found nothing
// has reached nothing, though none of it is wrong.
func (r *report) exact(where string, scores []score, kind string, precision, recall float64) {
	s := score{}
	if i := slices.IndexFunc(scores, func(s score) bool { return s.Evidence == kind && s.Found > 0 }); i >= 0 {
		s = scores[i]
	}
	r.bar(where+", "+kind+": precision", s.Precision, verdict.AtLeast, precision, "")
	r.bar(where+", "+kind+": recall", s.Recall, verdict.AtLeast, recall, "")
}

func (r *report) bar(name string, got float64, side verdict.Side, want float64, unit string) {
	r.Bars = append(r.Bars, verdict.NewBar(name, got, side, want, unit))
}

func (r report) print(w io.Writer) error {
	return verdict.Print(w, r.Bars, func(t io.Writer) {
		if r.Lab != nil {
			r.printLab(t)
		}
		for _, x := range r.Results {
			fmt.Fprintf(t, "\n%s: %d hosts, %d relations, %d connections, %d events, %d patterns\n", x.Name, x.Hosts, x.Relations, x.Connections, x.Events, x.Patterns)
			fmt.Fprintf(t, "  analysis %.1f s, of processors %.1f s, %.2f µs an event (and %.1f µs to decode it), %.0f MiB at most with the simulation\n", x.Seconds, x.Processor, x.PerEvent, x.Decode, x.PeakMiB)
			printScores(t, x.Scores)
		}
	})
}

func (r report) printLab(t io.Writer) {
	fmt.Fprintf(t, "\nlab: %d runs, %d of them exact, %d relations of hosts, %.0f s\n", r.Lab.Runs, r.Lab.Exact, r.Lab.Truth, r.Lab.Seconds)
	printScores(t, r.Lab.Scores)
	fmt.Fprintf(t, "\nlab with patterns alone: %d runs, %d relations, %d patterns, %.0f s\n", r.Patterns.Runs, r.Patterns.Relations, r.Patterns.Patterns, r.Patterns.Seconds)
	printScores(t, []score{r.Patterns.Score})
}

func printScores(t io.Writer, all []score) {
	fmt.Fprintln(t, "  evidence\tfound\twrong\tprecision\trecall\trecall of pairs")
	for _, s := range all {
		fmt.Fprintf(t, "  %s\t%d\t%d\t%.5f\t%.5f\t%.5f\n", s.Evidence, s.Found, s.Wrong, s.Precision, s.Recall, s.Pairs)
	}
}
