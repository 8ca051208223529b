package graph

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

func TestQueries(t *testing.T) {
	g := New(Config{})
	apply(g, "web/nginx>app/java", "app/java>db/postgres", "batch/job>db/postgres", "lone/x>other/y")
	g.Apply(finding("web/nginx", "192.0.2.1", discover.OneSided, noon))
	watch(g, noon.Add(time.Hour), "web", "app", "db", "batch", "lone", "other")
	for name, c := range map[string]struct{ got, want []string }{
		"of a host":      {ends(g.List(Filter{Host: "app"})), []string{"app/java>db/postgres", "web/nginx>app/java"}},
		"of a service":   {ends(g.List(Filter{Service: "job"})), []string{"batch/job>db/postgres"}},
		"well known":     {ends(g.List(Filter{Host: "web", Worst: discover.Timing})), []string{"web/nginx>app/java"}},
		"stale":          {ends(g.List(Filter{State: Stale})), nil},
		"one step":       {neighbours(t, g, "web", 1), []string{"web/nginx>192.0.2.1/unknown", "web/nginx>app/java"}},
		"two steps":      {neighbours(t, g, "web", 2), []string{"app/java>db/postgres", "web/nginx>192.0.2.1/unknown", "web/nginx>app/java"}},
		"blast of db":    {blast(t, g, "db"), []string{"app 1 db", "batch 1 db", "web 2 app"}},
		"blast of web":   {blast(t, g, "web"), nil},
		"blast of other": {blast(t, g, "other"), []string{"lone 1 other"}},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := g.Blast("nobody"); !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
	if h := Hosts(g.List(Filter{Internal: true})); len(h) != 4 || h[0].Client != "app" || !h[0].Translated {
		t.Errorf("%+v", h)
	}
}

func neighbours(t *testing.T, g *Graph, h string, n int) []string {
	t.Helper()
	e, err := g.Neighbourhood(h, n)
	if err != nil {
		t.Fatal(err)
	}
	return ends(e)
}

func blast(t *testing.T, g *Graph, h string) (all []string) {
	t.Helper()
	impacts, err := g.Blast(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range impacts {
		all = append(all, fmt.Sprint(i.Host, " ", i.Steps, " ", i.Via))
	}
	return all
}

// SYSTEMS 3.6: that there is no edge is said exactly where both were watched.
func TestExplain(t *testing.T) {
	g := New(Config{})
	apply(g, "a/curl>b/nginx", "unwatched/x>a/y")
	watch(g, noon.Add(time.Hour), "a", "b", "c")
	g.Watch(discover.Coverage{Host: "gap", Since: noon, Last: noon.Add(time.Hour), Missing: 2})
	for _, c := range []struct {
		a, b          string
		absent, exact bool
	}{
		{"a", "b", false, false},
		{"b", "a", false, false},
		{"a", "c", true, true},
		{"b", "gap", true, false},
		{"b", "unwatched", true, false},
	} {
		x, err := g.Explain(c.a, c.b)
		if err != nil {
			t.Fatal(err)
		}
		if x.Absent != c.absent || x.Exact != c.exact || x.Why == "" {
			t.Errorf("%s and %s: %+v", c.a, c.b, x)
		}
	}
	if _, err := g.Explain("a", "nobody"); !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
}
