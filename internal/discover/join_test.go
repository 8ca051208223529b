package discover_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/discovertest"
)

// scene is a world with a joiner that hears all of it.
type scene struct {
	*discovertest.World
	joiner   *discover.Joiner
	now      time.Time
	findings []discover.Finding
}

func newScene(seed uint64) *scene {
	return &scene{World: discovertest.New(seed), joiner: discover.New(discover.Limits{}), now: discovertest.Start}
}

// report has all hosts report, in any order, and lets time pass.
func (s *scene) report(pass time.Duration) {
	s.now = s.now.Add(pass)
	names := slices.Sorted(maps.Keys(s.Hosts))
	s.Rand.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	for _, n := range names {
		latency := time.Duration(s.Rand.IntN(20)) * time.Millisecond
		s.add(s.Hosts[n].Report(s.now), latency)
	}
	s.findings = append(s.findings, s.joiner.Advance(s.now)...)
}

func (s *scene) add(r discover.Report, latency time.Duration) {
	s.findings = append(s.findings, s.joiner.Add(r, s.now.Add(latency))...)
}

// wait lets time pass in which nothing happens.
func (s *scene) wait(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.report(10 * time.Second)
	}
}

// edges are the relations between hosts with probes: "client/process > server/process:port".
func (s *scene) edges(kinds ...discover.Evidence) []string {
	set := map[string]bool{}
	for _, f := range s.findings {
		if f.Client.Host == "" || f.Server.Host == "" || len(kinds) > 0 && !slices.Contains(kinds, f.Evidence) {
			continue
		}
		set[fmt.Sprintf("%s/%s > %s/%s:%d", f.Client.Host, f.Client.Service.Name(), f.Server.Host, f.Server.Service.Name(), f.Port)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// lonely are the one-sided relations that were not taken back.
func (s *scene) lonely() []string {
	set := map[string]bool{}
	for _, f := range s.findings {
		if f.Evidence != discover.OneSided {
			continue
		}
		k := fmt.Sprintf("%s%v > %s%v:%d", f.Client.Host, external(f.Client), f.Server.Host, external(f.Server), f.Port)
		set[k] = !f.Withdrawn
	}
	maps.DeleteFunc(set, func(_ string, on bool) bool { return !on })
	return slices.Sorted(maps.Keys(set))
}

func external(p discover.Party) string {
	if p.Host != "" {
		return ""
	}
	return p.External.String()
}

func same(t *testing.T, want, got []string) {
	t.Helper()
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("relations (-want +got):\n%s", d)
	}
}

var (
	addr = netip.MustParseAddr
	port = netip.MustParseAddrPort
)

// natural lets a link carry a few connections over a minute.
func (s *scene) natural(n int, links ...discovertest.Link) {
	for _, l := range links {
		for range n {
			at := s.now.Add(time.Duration(s.Rand.Float64() * float64(time.Minute)))
			s.Connect(l, at, time.Duration((0.02+s.Rand.ExpFloat64()*0.3)*float64(time.Second)))
		}
	}
	s.report(time.Minute)
}

// SYSTEMS 3.1, 3.3, 3.6: three hosts behind one masquerade, two servers, two
// processes each; every edge and no other, in twenty runs.
func TestMasquerade(t *testing.T) {
	for seed := range uint64(20) {
		s := newScene(seed)
		nat := addr("198.51.100.1")
		b1 := s.Host("b1", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80).Serve(11, "/usr/bin/postgres", 5432)
		b2 := s.Host("b2", "10.2.0.2", 0).Serve(10, "/usr/sbin/nginx", 80)
		a1 := s.Host("a1", "10.1.0.1", 0).Run(1, "/usr/bin/curl").Run(2, "/usr/bin/psql")
		a2 := s.Host("a2", "10.1.0.2", 0).Run(1, "/usr/bin/curl")
		s.Host("a3", "10.1.0.3", 0).Run(1, "/usr/bin/curl") // talks to nobody
		s.natural(1+s.Rand.IntN(5),
			discovertest.Link{Client: a1, PID: 1, Dialled: port("10.2.0.1:80"), Seen: nat, Server: b1, Port: 80},
			discovertest.Link{Client: a1, PID: 2, Dialled: port("10.2.0.1:5432"), Seen: nat, Server: b1, Port: 5432},
			discovertest.Link{Client: a2, PID: 1, Dialled: port("10.2.0.2:80"), Seen: nat, Server: b2, Port: 80},
		)
		s.wait(10 * time.Minute)
		same(t, []string{"a1/curl > b1/nginx:80", "a1/psql > b1/postgres:5432", "a2/curl > b2/nginx:80"}, s.edges())
		same(t, nil, s.lonely())
	}
}

// SYSTEMS 3.2: chained translators, a forwarded port, a hairpin, a balancer, and
// two sites that use the same private addresses.
func TestPaths(t *testing.T) {
	s := newScene(1)
	x := s.Host("x", "10.0.0.5", 0).Run(1, "/usr/bin/curl")
	y := s.Host("y", "10.0.0.5", 0).Run(1, "/usr/bin/curl") // another site, the same address
	b := s.Host("b", "10.0.0.9", 0).Serve(5, "/usr/sbin/nginx", 8080)
	c := s.Host("c", "10.0.0.9", 0).Serve(5, "/usr/sbin/nginx", 8080) // and so are the servers
	s.natural(4,
		discovertest.Link{Client: x, PID: 1, Dialled: port("203.0.113.1:80"), Seen: addr("100.64.0.1"), Server: b, Port: 8080},  // double, forwarded
		discovertest.Link{Client: y, PID: 1, Dialled: port("10.0.0.9:8080"), Server: c, Port: 8080},                             // inside its site
		discovertest.Link{Client: b, PID: 5, Dialled: port("203.0.113.1:80"), Seen: addr("203.0.113.1"), Server: b, Port: 8080}, // hairpin to itself
		discovertest.Link{Client: y, PID: 1, Dialled: port("203.0.113.9:443"), Seen: addr("203.0.113.2"), Server: b, Port: 8080},
		discovertest.Link{Client: y, PID: 1, Dialled: port("203.0.113.9:443"), Seen: addr("203.0.113.2"), Server: c, Port: 8080},
	)
	s.wait(10 * time.Minute)
	same(t, []string{"x/curl > b/nginx:8080", "y/curl > b/nginx:8080", "y/curl > c/nginx:8080", "b/nginx > b/nginx:8080"}, s.edges())
	for _, f := range s.findings {
		if f.Client.Host == "x" && (f.Dialled != port("203.0.113.1:80") || f.Source != addr("10.0.0.5") || f.Seen != addr("100.64.0.1")) {
			t.Errorf("path of x: %+v", f)
		}
	}
}

// SYSTEMS 3.5: clocks five minutes apart change nothing.
func TestClocksApart(t *testing.T) {
	s := newScene(2)
	b := s.Host("b", "10.2.0.1", -5*time.Minute).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 5*time.Minute).Run(1, "/usr/bin/curl")
	s.natural(5, discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80})
	s.wait(time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	for _, f := range s.findings {
		if f.First.Before(discovertest.Start.Add(-time.Second)) || f.Last.After(s.now) {
			t.Errorf("seen %v to %v, not in our time", f.First, f.Last)
		}
	}
}

// SYSTEMS 3.10: the public address changes; the relation stays one.
func TestRotatedAddress(t *testing.T) {
	s := newScene(3)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	l := discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}
	for _, public := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.3"} {
		l.Seen = addr(public)
		s.natural(3, l)
	}
	s.wait(10 * time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	same(t, nil, s.lonely())
}

func TestNoProbeAtTheOtherEnd(t *testing.T) {
	s := newScene(4)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	s.natural(3, discovertest.Link{Client: a, PID: 1, Dialled: port("192.0.2.1:443")})
	stranger := &discovertest.Host{Name: "stranger", Blind: true, Address: addr("172.16.0.1")}
	s.natural(3, discovertest.Link{Client: stranger, Dialled: port("10.2.0.1:80"), Seen: addr("192.0.2.7"), Server: b, Port: 80})
	s.wait(10 * time.Minute)
	same(t, nil, s.edges())
	same(t, []string{"a > 192.0.2.1:443", "192.0.2.7 > b:80"}, s.lonely())
}

// A probe that was away reports late: what looked one-sided is explained.
func TestLateReport(t *testing.T) {
	s := newScene(5)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	delete(s.Hosts, "b")
	s.natural(3, discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80})
	late := b.Report(s.now)
	s.wait(10 * time.Minute)
	same(t, []string{"a > 10.2.0.1:80"}, s.lonely())
	s.add(late, 0)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	same(t, nil, s.lonely())
}

func TestRepeatedReportsShowNothing(t *testing.T) {
	s := newScene(6)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	s.Connect(discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}, s.now, time.Second)
	ra, rb := a.Report(s.now), b.Report(s.now)
	for range 3 {
		s.add(rb, 0)
		s.add(ra, 0)
	}
	if len(s.findings) != 1 || s.findings[0].Count != 1 {
		t.Errorf("%+v", s.findings)
	}
}

func TestLostAndOvertakenReports(t *testing.T) {
	s := newScene(7)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	var all []discover.Report
	for i := range 50 {
		s.Connect(discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}, s.now, time.Second)
		ra, rb := a.Report(s.now), b.Report(s.now)
		if i == 0 || i%5 != 2 { // a fifth of one side is lost
			all = append(all, ra)
		}
		all = append(all, rb)
	}
	first := all[:2]
	rest := all[2:]
	s.Rand.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
	for _, r := range append(slices.Clone(first), rest...) {
		s.add(r, 0)
	}
	s.wait(10 * time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	same(t, nil, s.lonely())
	if c, ok := s.joiner.Coverage("a"); !ok || c.Missing != 10 {
		t.Errorf("coverage of a: %+v", c)
	}
}

// A connection that was open before the probes is joined by its snapshot, and
// again after a probe starts anew.
func TestOpenConnectionAndRestart(t *testing.T) {
	s := newScene(8)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	open := discover.Connection{
		ID: "9", Protocol: "tcp", Direction: discover.Outbound, PID: 1, ISN: 42,
		Local: port("10.1.0.1:40000"), Remote: port("10.2.0.1:80"),
	}
	accepted := open
	accepted.Direction, accepted.PID = discover.Inbound, 0
	accepted.Local, accepted.Remote = port("10.2.0.1:80"), port("198.51.100.1:40000")
	a.Repeat(open)
	b.Repeat(accepted)
	s.report(time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges(discover.ISN))
	for i := range 4 {
		s.findings = nil
		if i == 2 {
			b.Restart(2)
			b.Serve(10, "/usr/sbin/nginx", 80)
		}
		a.Repeat(open)
		b.Repeat(accepted)
		s.report(discover.Repeat)
		same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	}
	same(t, nil, s.lonely())
}

// A server that starts anew hears one end of an open connection long before the
// other: nothing is one-sided meanwhile.
func TestRestartOfTheServer(t *testing.T) {
	s := newScene(10)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	s.Connect(discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}, s.now, 0)
	late := b.Report(s.now)
	for range 28 {
		s.now = s.now.Add(10 * time.Second)
		s.add(a.Report(s.now), 0)
		s.findings = append(s.findings, s.joiner.Advance(s.now)...)
	}
	late.Time = s.now
	s.add(late, 0)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	for _, f := range s.findings {
		if f.Evidence == discover.OneSided {
			t.Errorf("%+v", f)
		}
	}
}

// The probe of one host makes up whatever it likes: nobody else gets an edge.
func TestForgedReports(t *testing.T) {
	s := newScene(9)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	evil := s.Host("evil", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	for i := range 2000 {
		evil.Repeat(discover.Connection{
			ID: fmt.Sprint("f", i), Protocol: "tcp", Direction: discover.Direction([]string{"in", "out"}[i%2]),
			Local: port("10.2.0.1:80"), Remote: port("10.1.0.1:40000"), ISN: s.Rand.Uint64(), Opened: s.now, Closed: s.now.Add(time.Second),
		})
	}
	s.natural(3, discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80})
	s.wait(10 * time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
}
