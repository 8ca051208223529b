package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/graph"
)

// report is bench-discover.json.
type report struct {
	Time    time.Time  `json:"time"`
	Seed    uint64     `json:"seed"`
	Lab     *labResult `json:"lab"`
	Results []result   `json:"results"`
	Bars    []bar      `json:"bars"`
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

// bar is something that must be reached.
type bar struct {
	Name string  `json:"name"`
	Got  float64 `json:"got"`
	Want float64 `json:"want"`
	Most bool    `json:"most"` // Want is the most, not the least
	Met  bool    `json:"met"`
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

// growth is how much more an event may cost in a fleet ten times as large: the
// caches of the processor are smaller than either.
const growth = 2.5

// judge compares with what must be reached.
func (r *report) judge() {
	small, large, timing, patterns := r.Results[1], r.Results[3], r.Results[4], r.Results[5]
	for _, x := range []result{large, timing} {
		// The time of processors, not that on the wall: it is no less on an idle
		// machine, and the same on a busy one.
		r.least(fmt.Sprintf("%s, %d hosts: analysis, s of processors", x.Name, x.Hosts), x.Processor, 60, true)
		r.least(fmt.Sprintf("%s, %d hosts: memory, MiB", x.Name, x.Hosts), x.PeakMiB, maxMiB, true)
	}
	r.least("cost of an event, largest fleet by smallest", large.PerEvent/small.PerEvent, growth, true)
	r.least("lab: runs without a wrong or missing pair of processes", float64(r.Lab.Exact), float64(r.Lab.Runs), false)
	r.exact("lab", r.Lab.Scores, "isn", 1, 1)
	r.exact("simulation", large.Scores, "isn", 1, 0.995)
	r.exact("simulation", timing.Scores, "timing", 0.999, 0)
	r.exact("simulation", patterns.Scores, "pattern", 0.999, 0.995)
}

func (r *report) exact(where string, scores []score, kind string, precision, recall float64) {
	for _, s := range scores {
		if s.Evidence == kind {
			r.least(where+", "+kind+": precision", s.Precision, precision, false)
			r.least(where+", "+kind+": recall", s.Recall, recall, false)
		}
	}
}

func (r *report) least(name string, got, want float64, most bool) {
	met := got >= want
	if most {
		met = got <= want
	}
	r.Bars = append(r.Bars, bar{name, got, want, most, met})
}

func met(bars []bar) bool {
	for _, b := range bars {
		if !b.Met {
			return false
		}
	}
	return true
}

func (r report) write(out string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "bench-discover.json"), append(b, '\n'), 0o644)
}

func (r report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nlab: %d runs, %d of them exact, %d relations of hosts, %.0f s\n", r.Lab.Runs, r.Lab.Exact, r.Lab.Truth, r.Lab.Seconds)
	printScores(t, r.Lab.Scores)
	for _, x := range r.Results {
		fmt.Fprintf(t, "\n%s: %d hosts, %d relations, %d connections, %d events, %d patterns\n", x.Name, x.Hosts, x.Relations, x.Connections, x.Events, x.Patterns)
		fmt.Fprintf(t, "  analysis %.1f s, of processors %.1f s, %.2f µs an event (and %.1f µs to decode it), %.0f MiB at most with the simulation\n", x.Seconds, x.Processor, x.PerEvent, x.Decode, x.PeakMiB)
		printScores(t, x.Scores)
	}
	fmt.Fprintln(t)
	for _, b := range r.Bars {
		sign, ok := "at least", "met"
		if b.Most {
			sign = "at most"
		}
		if !b.Met {
			ok = "NOT MET"
		}
		fmt.Fprintf(t, "%s\t%.4g\t%s %.4g\t%s\n", b.Name, b.Got, sign, b.Want, ok)
	}
	return t.Flush()
}

func printScores(t io.Writer, all []score) {
	fmt.Fprintln(t, "  evidence\tfound\twrong\tprecision\trecall\trecall of pairs")
	for _, s := range all {
		fmt.Fprintf(t, "  %s\t%d\t%d\t%.5f\t%.5f\t%.5f\n", s.Evidence, s.Found, s.Wrong, s.Precision, s.Recall, s.Pairs)
	}
}
