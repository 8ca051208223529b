package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/droveway/droveway"
)

func TestWaves(t *testing.T) {
	g := twoApplications()
	apps := g.Applications()
	waves, err := g.Waves(apps, Limits{Hosts: 8})
	if err != nil {
		t.Fatal(err)
	}
	checkWaves(t, g, waves, 8)
	if !slices.Contains(waves[0].Hosts, "dns") {
		t.Errorf("the name server that all use moves later: %v", waves[0].Hosts)
	}
	if err := g.SetGroup("large", []string{"crm0", "crm1", "crm2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Waves(g.Applications(), Limits{Hosts: 2}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a group larger than a wave: %v", err)
	}
	if _, err := g.Waves(apps, Limits{Size: 5, Sizes: map[string]int64{"dns": 6}}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a host larger than a wave: %v", err)
	}
}

// checkWaves checks that each host moves once, within the limit, after or with
// what it uses.
func checkWaves(t *testing.T, g *Graph, waves []Wave, limit int) {
	t.Helper()
	of, early := map[string]int{}, map[string]bool{}
	for i, w := range waves {
		if len(w.Hosts) > limit || len(w.Hosts) == 0 {
			t.Errorf("wave %d has %d hosts", i, len(w.Hosts))
		}
		for _, h := range w.Hosts {
			if _, twice := of[h]; twice {
				t.Errorf("%s moves twice", h)
			}
			of[h] = i
		}
		for _, e := range w.Early {
			early[e.Client+">"+e.Server] = true
		}
	}
	for _, e := range Hosts(g.List(Filter{Internal: true})) {
		if of[e.Server] > of[e.Client] != early[e.Client+">"+e.Server] {
			t.Errorf("%s uses %s: waves %d and %d", e.Client, e.Server, of[e.Client], of[e.Server])
		}
	}
}

// Any graph gets a plan that keeps the limits; what depends on each other in
// circles too large for a wave is named.
func TestWavesOfAnyGraph(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		g := New(Config{})
		n := 2 + r.IntN(30)
		for range r.IntN(3 * n) {
			apply(g, fmt.Sprintf("h%d/x>h%d/x", r.IntN(n), r.IntN(n)))
		}
		for i := range n {
			watch(g, noon, fmt.Sprint("h", i))
		}
		limit := 1 + r.IntN(6)
		waves, err := g.Waves(g.Applications(), Limits{Hosts: limit})
		if err != nil {
			t.Fatal(err)
		}
		checkWaves(t, g, waves, limit)
		total := 0
		for _, w := range waves {
			total += len(w.Hosts)
		}
		if total != n {
			t.Fatalf("%d of %d hosts move", total, n)
		}
	}
}

// A wave keeps its limit of size, says how long it takes, and whom it may hurt.
func TestWavesBySize(t *testing.T) {
	g := New(Config{})
	apply(g, "web/x>app/x", "app/x>db/x", "job/x>db/x", "report/x>app/x")
	l := Limits{Size: 100, Rate: 7, Sizes: map[string]int64{"db": 90, "app": 20, "web": 30, "job": 10, "report": 40}}
	var apps []Application
	for h := range l.Sizes {
		apps = append(apps, Application{Name: h, Hosts: []string{h}})
	}
	waves, err := g.Waves(apps, l)
	if err != nil {
		t.Fatal(err)
	}
	checkWaves(t, g, waves, len(l.Sizes))
	for i, w := range waves {
		if want := l.sizeOf(w.Hosts); w.Size != want || w.Size > l.Size || w.Seconds != (want+6)/7 {
			t.Errorf("wave %d: %+v", i, w)
		}
	}
	if len(waves) != 2 || !slices.Equal(waves[0].Hosts, []string{"db", "job"}) || waves[0].Reach != 3 || waves[1].Reach != 0 {
		t.Errorf("%+v", waves)
	}
}

func TestDependenciesMoveFirst(t *testing.T) {
	g := New(Config{})
	apply(g, "web/x>app/x", "app/x>db/x")
	var apps []Application
	for _, h := range []string{"web", "app", "db"} {
		apps = append(apps, Application{Name: h, Hosts: []string{h}})
	}
	waves, err := g.Waves(apps, Limits{Hosts: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"db", "app", "web"} {
		if waves[i].Hosts[0] != want || len(waves[i].Early) != 0 || len(waves[i].Crossing) == 0 {
			t.Errorf("wave %d: %+v", i, waves[i])
		}
	}
}
