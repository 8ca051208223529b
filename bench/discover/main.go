// Discover measures discovery against the truth of a simulated fleet: how exact
// each kind of evidence is, what joining by addresses gives on the same events,
// and what it all costs.
//
// Sites of a hundred hosts stand behind one public address each and all use the
// same private addresses; no two clocks agree. The same is then measured in real
// networks with real probes. It writes bench-discover.json and needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

func main() {
	beChild()
	out := flag.String("out", "out", "directory for the results")
	hosts := flag.Int("hosts", 10_000, "hosts of the largest fleet")
	var lab labRuns
	flag.IntVar(&lab.all, "runs", 20, "runs in real networks")
	flag.IntVar(&lab.patterns, "pattern-runs", 3, "runs there with patterns alone, two minutes each")
	fleets := flag.Bool("fleets", false, "measure simulated fleets alone: bench-discover-fleets.json, without root")
	seed := flag.Uint64("seed", 1, "of the simulation, and of who talks to whom in real networks")
	flag.Parse()
	debug.SetGCPercent(50) // as the server does, which has 256 MiB more for all else
	debug.SetMemoryLimit(collectMiB << 20)
	verdict.Main("bench/discover", func(context.Context) (bool, error) {
		if *fleets {
			return runFleets(*out, *hosts, *seed)
		}
		if err := errors.Join(verdict.AtLeastOne("runs", lab.all), verdict.AtLeastOne("pattern-runs", lab.patterns)); err != nil {
			return false, err
		}
		return run(*out, *hosts, lab, *seed)
	})
}

// beChild is the probe, the client or the server that this program is told to be,
// and does not return then.
func beChild() {
	if host := os.Getenv(probeRole); host != "" {
		if err := beProbe(host, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench/discover: probe:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	probetest.Main()
}

const (
	// maxMiB is the memory that all may take.
	maxMiB = 1024
	// collectMiB is from where on the collector spares no effort.
	collectMiB = 640
)

// labRuns is how many runs there are in real networks.
type labRuns struct{ all, patterns int }

// window is how long the natural traffic of a fleet is watched.
const window = 10 * time.Minute

// run measures real networks and simulated fleets.
func run(out string, hosts int, lab labRuns, seed uint64) (bool, error) {
	r := report{Setting: verdict.Here(), Seed: seed}
	var err error
	if r.Lab, err = measureLab(lab.all, seed); err != nil {
		return false, err
	}
	if r.Patterns, err = measurePatterns(lab.patterns, seed); err != nil {
		return false, err
	}
	r.fleets(hosts)
	r.judgeLab()
	return r.finish(out, "bench-discover.json")
}

// runFleets measures simulated fleets alone.
func runFleets(out string, hosts int, seed uint64) (bool, error) {
	r := report{Setting: verdict.Here(), Seed: seed}
	r.fleets(hosts)
	return r.finish(out, "bench-discover-fleets.json")
}

// fleets measures joining by addresses, fleets of three sizes with sequence numbers,
// to see how the cost grows, the largest without, where timing alone is left, and a
// small one with patterns, which take their time.
func (r *report) fleets(hosts int) {
	for _, s := range []setting{
		{Name: "baselines", Hosts: hosts / 10, Baselines: true},
		{Name: "isn", Hosts: hosts / 4},
		{Name: "isn", Hosts: hosts / 2},
		{Name: "isn", Hosts: hosts},
		{Name: "timing", Hosts: hosts, NoISN: true},
		{Name: "pattern", Hosts: hosts / 10, NoISN: true, Patterns: 40 * time.Minute},
	} {
		fmt.Fprintf(os.Stderr, "%s, %d hosts …\n", s.Name, s.Hosts)
		r.Results = append(r.Results, measure(s, r.Seed))
	}
	r.judgeFleets()
}

func (r *report) finish(out, name string) (bool, error) {
	if err := verdict.Write(out, name, r); err != nil {
		return false, err
	}
	return verdict.Met(r.Bars), r.print(os.Stdout)
}
