package graph

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	bytip = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})
)

func finding(client, server string, e discover.Evidence, at time.Time) discover.Finding {
	return discover.Finding{
		Evidence: e, Protocol: "tcp", Port: 80, First: at, Last: at, Count: 1, Score: 1,
		Client: party(client), Server: party(server), ClientPID: 7,
		Source: netip.MustParseAddr("10.0.0.1"), Seen: netip.MustParseAddr("198.51.100.1"),
		Dialled: netip.MustParseAddrPort("203.0.113.1:80"),
	}
}

// party of "host/program", or of an address.
func party(s string) discover.Party {
	if a, err := netip.ParseAddr(s); err == nil {
		return discover.Party{External: a}
	}
	host, exe, _ := strings.Cut(s, "/")
	return discover.Party{Host: host, Service: discover.Service{Executable: exe}}
}

func watch(g *Graph, last time.Time, hosts ...string) {
	for _, h := range hosts {
		g.Watch(discover.Coverage{Host: h, Since: noon, Last: last})
	}
}

func apply(g *Graph, links ...string) {
	for _, l := range links {
		c, s, _ := strings.Cut(l, ">")
		g.Apply(finding(c, s, discover.ISN, noon))
	}
}

func ends(edges []Edge) []string {
	var all []string
	for _, e := range edges {
		all = append(all, name(e.Client)+"/"+e.Client.Service.Name()+">"+name(e.Server)+"/"+e.Server.Service.Name())
	}
	return all
}

func TestApplyGathersEvidence(t *testing.T) {
	g := New(Config{})
	for i, e := range []discover.Evidence{discover.Timing, discover.ISN, discover.ISN, discover.Pattern} {
		g.Apply(finding("a/curl", "b/nginx", e, noon.Add(time.Duration(i)*time.Minute)))
	}
	edges := g.List(Filter{})
	if len(edges) != 1 {
		t.Fatalf("%d edges", len(edges))
	}
	e := edges[0]
	if kinds(e.Evidence) != "isn+pattern+timing" || e.Count != 4 || e.Evidence[0].Count != 2 || e.Confidence < 0.999999 {
		t.Errorf("%+v", e)
	}
	if !e.First.Equal(noon) || !e.Last.Equal(noon.Add(3*time.Minute)) || !e.Paths[0].Translated() {
		t.Errorf("%+v", e)
	}
	if got, err := g.Show(e.ID); err != nil || got.ID != e.ID {
		t.Error(err)
	}
	if _, err := g.Show("nothing"); !droveway.Is(err, droveway.NotFound) {
		t.Error(err)
	}
}

// SYSTEMS 3.10: public addresses come and go, the edge stays one, with the ways
// it took last.
func TestPathsAreBounded(t *testing.T) {
	g := New(Config{})
	for i := range 50 {
		f := finding("a/curl", "b/nginx", discover.ISN, noon.Add(time.Duration(i)*time.Minute))
		f.Seen = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		f.ClientPID = i + 1
		g.Apply(f)
	}
	e := g.List(Filter{})
	if len(e) != 1 || len(e[0].Paths) != keptPaths || len(e[0].ClientPIDs) != keptPIDs {
		t.Fatalf("%+v", e)
	}
	if !slices.ContainsFunc(e[0].Paths, func(p Path) bool { return p.Seen.As4()[3] == 49 }) {
		t.Error("the last way is not kept")
	}
}

func TestAProcessGetsItsNameLater(t *testing.T) {
	g := New(Config{})
	apply(g, "a>b/nginx", "a/curl>b/nginx")
	if got := ends(g.List(Filter{})); len(got) != 1 || got[0] != "a/curl>b/nginx" {
		t.Error(got)
	}
	if e := g.List(Filter{})[0]; e.Count != 2 {
		t.Errorf("%d connections", e.Count)
	}
	g = New(Config{})
	apply(g, "a/a-very-long-nam>b/nginx", "a//usr/bin/a-very-long-name>b//usr/sbin/nginx")
	if got := g.List(Filter{}); len(got) != 1 || got[0].Count != 2 || got[0].Server.Service.Executable != "/usr/sbin/nginx" {
		t.Errorf("by the kernel's names first: %+v", got)
	}
}

// SYSTEMS 3.7: a relation that ends is stale after the window, removed later,
// and alive again when it is seen. Nobody looking is not the same as not seen.
func TestStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{Stale: 10 * time.Minute, Remove: time.Hour})
		start := time.Now()
		g.Apply(finding("a/curl", "b/nginx", discover.ISN, start))
		state := func() State {
			g.Advance(time.Now())
			if e := g.List(Filter{}); len(e) == 1 {
				return e[0].State
			}
			return Removed
		}
		pass := func(d time.Duration, watched ...string) State {
			time.Sleep(d)
			watch(g, time.Now(), watched...)
			return state()
		}
		steps := []struct {
			watched []string
			pass    time.Duration
			want    State
		}{
			{[]string{"a", "b"}, 9 * time.Minute, Active},
			{[]string{"a"}, 5 * time.Minute, Active}, // b's probe is away
			{[]string{"a", "b"}, time.Second, Stale},
			{[]string{"a"}, 3 * time.Hour, Stale},
		}
		for i, s := range steps {
			if got := pass(s.pass, s.watched...); got != s.want {
				t.Errorf("step %d: %s, want %s", i, got, s.want)
			}
		}
		g.Apply(finding("a/curl", "b/nginx", discover.ISN, time.Now()))
		if got := state(); got != Active {
			t.Errorf("seen again: %s", got)
		}
		if got := pass(2*time.Hour, "a", "b"); got != Removed {
			t.Errorf("after all: %s", got)
		}
		if r := g.List(Filter{State: Removed}); len(r) != 1 || r[0].State != Removed {
			t.Errorf("removed: %+v", r)
		}
		if r := g.List(Filter{State: Removed, Host: "c"}); len(r) != 0 {
			t.Errorf("removed of another host: %+v", r)
		}
	})
}

// What is planned from a snapshot is not of what comes later.
func TestSnapshot(t *testing.T) {
	g := New(Config{Site: func(string) string { return "home" }})
	start := time.Now()
	g.Apply(finding("a/curl", "b/nginx", discover.ISN, start))
	watch(g, start, "a", "b", "idle")
	if err := g.SetGroup("web", []string{"b"}); err != nil {
		t.Fatal(err)
	}
	s := g.Snapshot()
	want, apps := s.List(Filter{}), s.Applications()
	if d := cmp.Diff(g.Applications(), apps); d != "" || len(apps) != 3 || len(want) != 1 {
		t.Errorf("%d edges, applications (-graph +snapshot):\n%s", len(want), d)
	}
	g.Apply(finding("a/curl", "b/nginx", discover.Pattern, start.Add(time.Minute)))
	g.Apply(finding("c/curl", "b/nginx", discover.ISN, start))
	watch(g, start, "d")
	if err := g.SetGroup("web", nil); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, s.List(Filter{}), bytip); d != "" {
		t.Errorf("edges (-before +after):\n%s", d)
	}
	if d := cmp.Diff(apps, s.Applications()); d != "" {
		t.Errorf("applications (-before +after):\n%s", d)
	}
}

func TestWithdrawnEdgesVanish(t *testing.T) {
	g := New(Config{})
	f := finding("a/curl", "203.0.113.1", discover.OneSided, noon)
	g.Apply(f)
	if e := g.List(Filter{}); len(e) != 1 || e[0].Confidence > 0.5 {
		t.Fatalf("%+v", e)
	}
	f.Withdrawn = true
	g.Apply(f)
	if e := g.List(Filter{}); len(e) != 0 {
		t.Errorf("%+v", e)
	}
	if c := g.Changes(10, Always); len(c) != 1 || !c[0].Gone {
		t.Errorf("%+v", c)
	}
}

// SYSTEMS 3.2: the same private address is somebody else in every site, the same
// public one is not.
func TestPrivateAddressesBelongToASite(t *testing.T) {
	g := New(Config{Site: func(h string) string { return h[:1] }})
	for _, h := range []string{"a1", "a2", "b1"} {
		for _, to := range []string{"10.0.0.9", "100.64.1.1", "192.0.2.1"} {
			g.Apply(finding(h+"/x", to, discover.OneSided, noon))
		}
	}
	names := map[string]bool{}
	for _, e := range g.List(Filter{}) {
		names[name(e.Server)] = true
	}
	want := map[string]bool{"10.0.0.9@a": true, "10.0.0.9@b": true, "100.64.1.1@a": true, "100.64.1.1@b": true, "192.0.2.1": true}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	f := finding("b1/x", "10.0.0.9", discover.OneSided, noon)
	f.Withdrawn = true
	g.Apply(f)
	if n := len(g.List(Filter{Host: "b1"})); n != 2 {
		t.Errorf("%d edges", n)
	}
}

func TestEdgesOfAHostAreBounded(t *testing.T) {
	g := New(Config{EdgesPerHost: 10})
	apply(g, "a/curl>b/nginx")
	for i := range 100 {
		g.Apply(finding("evil/x", fmt.Sprintf("192.0.2.%d", i), discover.OneSided, noon))
	}
	apply(g, "evil/x>b/nginx") // real relations push others out
	if n := len(g.List(Filter{Host: "evil"})); n != 10 {
		t.Errorf("%d edges", n)
	}
	if got := ends(g.List(Filter{Internal: true})); len(got) != 2 {
		t.Error(got)
	}
	if g.Refused() != 90 {
		t.Errorf("%d refused", g.Refused())
	}
}

func TestChangesRestoreTheGraph(t *testing.T) {
	g := New(Config{})
	apply(g, "a/curl>b/nginx", "b/nginx>c/postgres")
	g.Apply(finding("c/postgres", "192.0.2.1", discover.OneSided, noon))
	var stored []Edge
	for _, c := range g.Changes(10, Always) {
		b, err := json.Marshal(c.Edge)
		if err != nil {
			t.Fatal(err)
		}
		var e Edge
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, e)
	}
	if c := g.Changes(10, Always); len(c) != 0 {
		t.Errorf("changes are given twice: %+v", c)
	}
	h := New(Config{})
	h.Restore(stored)
	if d := cmp.Diff(g.List(Filter{}), h.List(Filter{}), bytip); d != "" {
		t.Error(d)
	}
}

// What is not due, or too much for once, is given later, and as it is then.
func TestChangesWait(t *testing.T) {
	g := New(Config{})
	apply(g, "a/curl>b/nginx", "b/nginx>c/postgres", "c/postgres>d/ntp")
	never := func(*Edge) bool { return false }
	if c := g.Changes(10, never); len(c) > 0 {
		t.Errorf("%+v is not due", c)
	}
	apply(g, "a/curl>b/nginx", "b/nginx>c/postgres", "c/postgres>d/ntp")
	first, rest := g.Changes(2, Always), g.Changes(2, Always)
	if len(first) != 2 || len(rest) != 1 {
		t.Fatalf("%d and %d changes", len(first), len(rest))
	}
	for _, c := range append(first, rest...) {
		if c.Edge.Count != 2 {
			t.Errorf("%s was seen %d times", c.Edge.ID, c.Edge.Count)
		}
	}
	f := finding("a/curl", "203.0.113.1", discover.OneSided, noon)
	g.Apply(f)
	g.Changes(10, never)
	f.Withdrawn = true
	g.Apply(f)
	if c := g.Changes(10, never); len(c) != 1 || !c[0].Gone {
		t.Errorf("%+v: what is gone is always due", c)
	}
	if c := g.Changes(10, Always); len(c) > 0 {
		t.Errorf("changes are given twice: %+v", c)
	}
}
