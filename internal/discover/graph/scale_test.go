package graph

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkPlan finds applications and plans waves of 10,000 hosts with 50,000
// relations.
func BenchmarkPlan(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	g := New(Config{})
	const hosts, cluster = 10_000, 20
	for i := range hosts {
		for range 5 {
			o := i/cluster*cluster + r.IntN(cluster)
			if r.IntN(10) == 0 {
				o = r.IntN(hosts)
			}
			apply(g, fmt.Sprintf("h%d/x>h%d/x", i, o))
		}
	}
	for b.Loop() {
		apps := g.Applications()
		waves, err := g.Waves(apps, Limits{Hosts: 200})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(apps)), "applications")
		b.ReportMetric(float64(len(waves)), "waves")
	}
}
