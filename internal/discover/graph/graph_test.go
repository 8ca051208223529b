package graph

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
		if r := g.Removed(); len(r) != 1 || r[0].State != Removed {
			t.Errorf("removed: %+v", r)
		}
	})
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
	if c := g.Changes(); len(c) != 1 || !c[0].Gone {
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
	for _, c := range g.Changes() {
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
	if c := g.Changes(); len(c) != 0 {
		t.Errorf("changes are given twice: %+v", c)
	}
	h := New(Config{})
	h.Restore(stored)
	if d := cmp.Diff(g.List(Filter{}), h.List(Filter{}), bytip); d != "" {
		t.Error(d)
	}
}

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

// twoApplications are two groups of five that share a name server.
func twoApplications() *Graph {
	g := New(Config{})
	for _, app := range []string{"crm", "erp"} {
		for i := range 4 {
			for k := range i {
				apply(g, fmt.Sprintf("%s%d/x>%s%d/x", app, i, app, k))
			}
		}
	}
	for i := range 4 {
		apply(g, fmt.Sprintf("crm%d/x>dns/dnsmasq", i), fmt.Sprintf("erp%d/x>dns/dnsmasq", i))
	}
	for i := range 20 {
		apply(g, fmt.Sprintf("desk%d/x>dns/dnsmasq", i))
	}
	apply(g, "crm0/x>erp0/x")
	return g
}

func TestApplications(t *testing.T) {
	g := twoApplications()
	find := func(name string) Application {
		for _, a := range g.Applications() {
			if a.Name == name {
				return a
			}
		}
		return Application{}
	}
	for _, app := range []string{"crm", "erp"} {
		want := Application{Name: "app-" + app + "0", Hosts: []string{app + "0", app + "1", app + "2", app + "3"}, Shared: []string{"dns"}}
		if d := cmp.Diff(want, find(want.Name)); d != "" {
			t.Error(d)
		}
	}
	if err := g.SetGroup("mine", []string{"crm0", "erp0"}); err != nil {
		t.Fatal(err)
	}
	if a := find("mine"); !a.User || len(a.Hosts) != 2 {
		t.Errorf("%+v", a)
	}
	if a := find("app-crm1"); len(a.Hosts) != 3 {
		t.Errorf("%+v", a)
	}
	if err := g.SetGroup("No Name", nil); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
	if err := g.SetGroup("mine", nil); err != nil || find("mine").Name != "" {
		t.Error("the group is still there", err)
	}
}

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

func TestExports(t *testing.T) {
	g := New(Config{})
	apply(g, "a/=cmd|\"x\"<b`#>b/nginx")
	g.Apply(finding("b/nginx", "192.0.2.1", discover.OneSided, noon))
	edges := g.List(Filter{})
	edges[1].State = Stale
	out := map[Format]string{}
	for _, f := range []Format{CSV, JSON, DOT, Mermaid} {
		var b bytes.Buffer
		if err := Export(&b, f, edges); err != nil {
			t.Fatal(err)
		}
		out[f] = b.String()
	}
	rows, err := csv.NewReader(strings.NewReader(out[CSV])).ReadAll()
	if err != nil || len(rows) != 3 || !strings.HasPrefix(rows[1][2], "'=") {
		t.Errorf("%v %q", err, rows)
	}
	var back []Edge
	if err := json.Unmarshal([]byte(out[JSON]), &back); err != nil || cmp.Diff(edges, back, bytip) != "" {
		t.Errorf("%v %s", err, cmp.Diff(edges, back, bytip))
	}
	for f, parts := range map[Format][]string{
		DOT:     {`label="a"`, `label="=cmd|\"x\"<b` + "`#", `n1 -> n2 [label="tcp 80", style=dashed];`},
		Mermaid: {`subgraph g0["a"]`, `=cmd|#quot;x#quot;#lt;b#96;#35;`, `n0 -->|"tcp 80"| n1`, `n1 -.->`},
	} {
		for _, p := range parts {
			if !strings.Contains(out[f], p) {
				t.Errorf("%s has no %s:\n%s", f, p, out[f])
			}
		}
	}
	if err := Export(&bytes.Buffer{}, "png", nil); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
	var empty bytes.Buffer
	if err := Export(&empty, JSON, nil); err != nil || strings.TrimSpace(empty.String()) != "[]" {
		t.Errorf("%v %q", err, empty.String())
	}
}
