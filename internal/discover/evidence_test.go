package discover_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/discovertest"
	"github.com/droveway/droveway/internal/discover/pattern"
)

// noise is 200 connections a second from a stranger behind the same translator.
func (s *scene) noise(d time.Duration, seen netip.Addr, servers ...*discovertest.Host) {
	stranger := &discovertest.Host{Name: "stranger", Blind: true, Address: addr("10.1.0.200")}
	for range int(200 * d.Seconds()) {
		at := s.now.Add(time.Duration(s.Rand.Float64() * float64(d)))
		hold := time.Duration(s.Rand.ExpFloat64() * 0.2 * float64(time.Second))
		s.Connect(discovertest.Link{
			Client: stranger, Dialled: port("10.2.0.1:80"), Seen: seen,
			Server: servers[s.Rand.IntN(len(servers))], Port: 80,
		}, at, hold)
	}
}

// assign has a host emit a pattern; to(i) is where its connection i ends.
func (s *scene) assign(h *discovertest.Host, id uint32, to func(i int) discovertest.Link) {
	l := to(0)
	a := discover.Assignment{Pattern: fmt.Sprintf("%08x", id), Destination: l.Dialled, PID: l.PID, Start: s.now.Add(h.Ahead)}
	a.Delays, a.Holds = pattern.Encode(id).Timing()
	s.joiner.Expect(discover.Expectation{
		Pattern: a.Pattern, Host: h.Name, Service: discover.Service{Executable: "/usr/bin/curl"},
		Destination: a.Destination, Expires: s.now.Add(time.Minute),
	})
	s.Emit(h, a, to)
}

// SYSTEMS 3.4, 3.5: patterns through a translator that carries 200 other
// connections a second, clocks ten minutes apart, and no sequence numbers.
func TestPatternsInNoise(t *testing.T) {
	for seed := range uint64(10) {
		s := newScene(seed)
		s.NoISN = true
		nat := addr("198.51.100.1")
		b1 := s.Host("b1", "10.2.0.1", 5*time.Minute).Serve(10, "/usr/sbin/nginx", 80)
		b2 := s.Host("b2", "10.2.0.2", -5*time.Minute).Serve(10, "/usr/sbin/nginx", 80)
		links := map[string]discovertest.Link{}
		for i, name := range []string{"a1", "a2", "a3"} {
			a := s.Host(name, "10.1.0.1", time.Duration(i)*time.Minute).Run(1, "/usr/bin/curl")
			l := discovertest.Link{Client: a, PID: 1, Dialled: port("203.0.113.1:80"), Seen: nat, Server: b1, Port: 80}
			if name == "a3" {
				l.Dialled, l.Server = port("203.0.113.2:80"), b2
			}
			links[name] = l
			s.Connect(l, s.now, 0) // it talks to it: one connection that stays
		}
		s.wait(time.Minute)
		for round := range uint32(2) {
			s.noise(20*time.Second, nat, b1, b2)
			for i, name := range []string{"a1", "a2", "a3"} {
				s.assign(links[name].Client, 0xa1000000+round<<8+uint32(i), func(int) discovertest.Link { return links[name] })
			}
			s.wait(5 * time.Minute)
		}
		same(t, []string{"a1/curl > b1/nginx:80", "a2/curl > b1/nginx:80", "a3/curl > b2/nginx:80"}, s.edges(discover.Pattern))
		same(t, []string{"a1/curl > b1/nginx:80", "a2/curl > b1/nginx:80", "a3/curl > b2/nginx:80"}, s.edges())
		if o := s.joiner.Outcomes(); len(o) != 6 || !o[0].Matched || !o[5].Matched {
			t.Errorf("outcomes: %+v", o)
		}
	}
}

// SYSTEMS 3.2: a balancer spreads the pattern over its pool, whose clocks are
// known from other relations.
func TestPatternThroughBalancer(t *testing.T) {
	s := newScene(20)
	nat := addr("198.51.100.1")
	var pool []*discovertest.Host
	a := s.Host("a", "10.1.0.1", time.Second).Run(1, "/usr/bin/curl")
	m := s.Host("m", "10.3.0.1", 0).Run(1, "/usr/bin/monitor")
	for i := range 3 {
		b := s.Host(fmt.Sprint("b", i), fmt.Sprint("10.2.0.", i+1), time.Duration(i)*3*time.Second).Serve(10, "/usr/sbin/nginx", 80)
		pool = append(pool, b)
		s.natural(4, discovertest.Link{Client: m, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80})
	}
	s.natural(4, discovertest.Link{Client: m, PID: 1, Dialled: port("10.1.0.1:22"), Server: a, Port: 22})
	via := func(i int) discovertest.Link {
		return discovertest.Link{Client: a, PID: 1, Dialled: port("203.0.113.1:80"), Seen: nat, Server: pool[i%3], Port: 80, Rewrites: true}
	}
	s.Connect(via(0), s.now, 0)
	s.wait(time.Minute)
	s.findings = nil
	for round := range uint32(2) {
		s.noise(20*time.Second, nat, pool...)
		s.assign(a, 0xbeef+round, via)
		s.wait(2 * time.Minute)
	}
	same(t, []string{"a/curl > b0/nginx:80", "a/curl > b1/nginx:80", "a/curl > b2/nginx:80"}, s.edges())
}

// What a server heard by chance in one round is no relation: the second round has
// to agree about each server, not only about some.
func TestChanceOfOneRound(t *testing.T) {
	s := newScene(29)
	nat := addr("198.51.100.1")
	a := s.Host("a", "10.1.0.1", time.Second).Run(1, "/usr/bin/curl")
	m := s.Host("m", "10.3.0.1", 0).Run(1, "/usr/bin/monitor")
	var all []*discovertest.Host
	for i := range 3 {
		b := s.Host(fmt.Sprint("b", i), fmt.Sprint("10.2.0.", i+1), 0).Serve(10, "/usr/sbin/nginx", 80)
		all = append(all, b)
		s.natural(4, discovertest.Link{Client: m, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80})
	}
	s.natural(4, discovertest.Link{Client: m, PID: 1, Dialled: port("10.1.0.1:22"), Server: a, Port: 22})
	pool, bystander := all[:2], all[2]
	via := func(i int) discovertest.Link {
		return discovertest.Link{Client: a, PID: 1, Dialled: port("203.0.113.1:80"), Seen: nat, Server: pool[i%2], Port: 80, Rewrites: true}
	}
	s.Connect(via(0), s.now, 0)
	s.wait(time.Minute)
	s.findings = nil
	for round := range uint32(2) {
		id := 0xcafe + round
		if round == 0 {
			delays, holds := pattern.Encode(id).Timing()
			stranger := &discovertest.Host{Name: "stranger", Blind: true, Address: addr("10.1.0.200")}
			for i := range 3 {
				s.Connect(discovertest.Link{Client: stranger, Seen: nat, Server: bystander, Port: 80}, s.now.Add(delays[i]), holds[i])
			}
		}
		s.assign(a, id, via)
		s.wait(2 * time.Minute)
	}
	o := s.joiner.Outcomes()
	if len(o) != 2 || !slices.Contains(o[0].Servers, discover.Served{Host: "b2", Port: 80}) {
		t.Fatalf("the first round has to be heard by chance: %+v", o)
	}
	same(t, []string{"a/curl > b0/nginx:80", "a/curl > b1/nginx:80"}, s.edges())
}

// SYSTEMS 3.7: what is confirmed long after it was heard is a relation of then, if it is
// one at all.
func TestLateConfirmation(t *testing.T) {
	for name, k := range map[string]struct {
		later  time.Duration
		limits discover.Limits
		want   bool
	}{
		"hours later": {6 * time.Hour, discover.Limits{}, true},
		"too late":    {13 * time.Hour, discover.Limits{}, false},
		"forgotten":   {6 * time.Hour, discover.Limits{Idle: time.Hour}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(31)
			s.joiner, s.NoISN = discover.New(k.limits), true
			b0 := s.Host("b0", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
			b1 := s.Host("b1", "10.2.0.2", 0).Serve(10, "/usr/sbin/nginx", 80)
			id := uint32(0xd00d)
			rounds := func(client string, servers ...*discovertest.Host) {
				c := s.Host(client, "10.1.0.1", 0).Run(1, "/usr/bin/curl")
				l := discovertest.Link{Client: c, PID: 1, Dialled: port("203.0.113.1:80"), Seen: addr("198.51.100.1")}
				for _, b := range servers {
					l.Server, l.Port = b, 80
					s.Connect(l, s.now, time.Second) // it talks to it, and then no more
					s.wait(time.Minute)
					s.assign(c, id, func(int) discovertest.Link { return l })
					id++
					s.wait(2 * time.Minute)
				}
			}
			rounds("a", b0, b1, b1) // one round was heard by b0, which is known for no member yet
			same(t, []string{"a/curl > b1/nginx:80"}, s.edges(discover.Pattern))
			heard := s.now
			s.wait(k.later)
			rounds("c", b0, b0)
			want := []string{"a/curl > b1/nginx:80", "c/curl > b0/nginx:80"}
			if k.want {
				want = append(want, "a/curl > b0/nginx:80")
			}
			same(t, want, s.edges(discover.Pattern))
			for _, f := range s.findings {
				if f.Evidence == discover.Pattern && f.Client.Host == "a" && f.Last.After(heard) {
					t.Errorf("last seen at %v, %v after the last connection: %+v", f.Last, f.Last.Sub(heard), f)
				}
			}
		})
	}
}

// SYSTEMS 3.7: what a pattern showed lives as long as its client talks to the
// destination, and no longer.
func TestPatternRelationLives(t *testing.T) {
	s := newScene(26)
	s.NoISN = true
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	l := discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}
	open := s.Connect(l, s.now, 0)
	s.wait(time.Minute)
	s.assign(a, 7, func(int) discovertest.Link { return l })
	s.wait(time.Minute)
	same(t, nil, s.edges()) // one round proves nothing
	s.assign(a, 8, func(int) discovertest.Link { return l })
	s.wait(time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges(discover.Pattern))
	last := func() (at time.Time) {
		for _, f := range s.findings {
			if f.Evidence == discover.Pattern && f.Last.After(at) {
				at = f.Last
			}
		}
		return at
	}
	s.wait(20 * time.Minute)
	silent := last()
	s.Repeat(open)
	s.wait(time.Minute)
	if before := discovertest.Start.Add(10 * time.Minute); silent.After(before) || last().Before(before) {
		t.Errorf("last seen at %v without and at %v with a connection", silent, last())
	}
	for f := range s.joiner.Flows() {
		if f.Host != "a" || f.Best != discover.Pattern || f.Dialled != l.Dialled || f.Service.Name() != "curl" {
			t.Errorf("flow %+v", f)
		}
	}
}

// A busy host is late by up to sixteen milliseconds with everything.
func TestPatternOfABusyHost(t *testing.T) {
	s := newScene(28)
	s.NoISN = true
	nat := addr("198.51.100.1")
	b := s.Host("b", "10.2.0.1", time.Minute).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	l := discovertest.Link{Client: a, PID: 1, Dialled: port("203.0.113.1:80"), Seen: nat, Server: b, Port: 80}
	s.Connect(l, s.now, 0)
	s.wait(time.Minute)
	for round := range uint32(2) {
		s.noise(20*time.Second, nat, b)
		s.assign(a, 7+round, func(int) discovertest.Link { return l })
		r := a.Report(s.now.Add(10 * time.Second))
		for i := range r.Emitted {
			r.Emitted[i].Opened = r.Emitted[i].Opened.Add(time.Duration(i) * time.Millisecond)
			r.Emitted[i].Closed = r.Emitted[i].Closed.Add(time.Duration(i*2) * time.Millisecond)
		}
		s.wait(20 * time.Second)
		s.add(r, 0)
		s.wait(4 * time.Minute)
	}
	same(t, []string{"a/curl > b/nginx:80"}, s.edges(discover.Pattern))
}

// A pattern that nobody was told to emit, or that another host claims, is nothing.
func TestForgedPattern(t *testing.T) {
	s := newScene(21)
	s.NoISN = true
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	evil := s.Host("evil", "10.1.0.2", 0).Run(1, "/usr/bin/curl")
	l := discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}
	s.Connect(l, s.now, 0)
	s.wait(time.Minute)
	s.assign(a, 7, func(int) discovertest.Link { l.Server = nil; return l }) // is lost on its way
	id := fmt.Sprintf("%08x", 7)
	l.Client, l.Server = evil, b
	as := discover.Assignment{Pattern: id, Start: s.now}
	as.Delays, as.Holds = pattern.Encode(7).Timing()
	s.Emit(evil, as, func(int) discovertest.Link { return l })
	a.Report(s.now) // a's own emissions are lost too
	s.wait(4 * time.Minute)
	same(t, nil, s.edges())
	if o := s.joiner.Outcomes(); len(o) != 1 || o[0].Matched {
		t.Errorf("outcomes: %+v", o)
	}
}

// Natural traffic alone, without sequence numbers, through one address.
func TestTiming(t *testing.T) {
	s := newScene(22)
	s.NoISN = true
	nat := addr("198.51.100.1")
	b1 := s.Host("b1", "10.2.0.1", 3*time.Minute).Serve(10, "/usr/sbin/nginx", 80)
	b2 := s.Host("b2", "10.2.0.2", -time.Minute).Serve(10, "/usr/sbin/nginx", 80)
	a1 := s.Host("a1", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	a2 := s.Host("a2", "10.1.0.2", 0).Run(1, "/usr/bin/curl")
	s.wait(time.Minute)
	for range 4 {
		s.noise(time.Minute, nat, b1, b2)
		s.natural(12,
			discovertest.Link{Client: a1, PID: 1, Dialled: port("203.0.113.1:80"), Seen: nat, Server: b1, Port: 80},
			discovertest.Link{Client: a2, PID: 1, Dialled: port("203.0.113.2:80"), Seen: nat, Server: b2, Port: 80},
		)
	}
	s.wait(time.Minute)
	same(t, []string{"a1/curl > b1/nginx:80", "a2/curl > b2/nginx:80"}, s.edges(discover.Timing))
	same(t, []string{"a1/curl > b1/nginx:80", "a2/curl > b2/nginx:80"}, s.edges())
}

// Two services that each call at a fixed interval agree by chance: no evidence.
func TestTimingIgnoresFixedIntervals(t *testing.T) {
	s := newScene(23)
	s.NoISN = true
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	stranger := &discovertest.Host{Name: "stranger", Blind: true, Address: addr("10.1.0.200")}
	for range 30 {
		s.Connect(discovertest.Link{Client: a, PID: 1, Dialled: port("192.0.2.1:80")}, s.now, 20*time.Millisecond)
		s.Connect(discovertest.Link{Client: stranger, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}, s.now.Add(time.Millisecond), 20*time.Millisecond)
		s.report(5 * time.Second)
	}
	s.wait(2 * time.Minute)
	same(t, nil, s.edges())
}

// The translating boxes say how they translate: a chain of two, and UDP.
func TestConntrack(t *testing.T) {
	s := newScene(24)
	s.NoISN = true
	b := s.Host("b", "10.0.0.9", 0).Serve(5, "/usr/sbin/dnsmasq", 53)
	a := s.Host("a", "10.0.0.5", 0).Run(1, "/usr/bin/dig")
	other := s.Host("other", "10.0.0.5", 0).Run(1, "/usr/bin/dig") // the same address elsewhere
	router := s.Host("router", "198.51.100.1", 0)
	s.natural(3, discovertest.Link{
		Client: a, PID: 1, Protocol: "udp", Dialled: port("203.0.113.1:53"), Seen: addr("198.51.100.1"), Server: b, Port: 53, Translator: router,
	})
	s.natural(3, discovertest.Link{Client: other, PID: 1, Protocol: "udp", Dialled: port("10.0.0.9:53")}) // a server without a probe
	s.wait(10 * time.Minute)
	same(t, []string{"a/dig > b/dnsmasq:53"}, s.edges(discover.Conntrack))
	same(t, []string{"a/dig > b/dnsmasq:53"}, s.edges())
	for _, f := range s.findings {
		if f.Client.Host == "a" && len(f.Hops) != 1 {
			t.Errorf("hops: %+v", f.Hops)
		}
	}
	same(t, []string{"other > 10.0.0.9:53"}, s.lonely())
}

// Sequence numbers say who, the translating box says by which way.
func TestConntrackAddsTheWay(t *testing.T) {
	s := newScene(27)
	router := s.Host("router", "198.51.100.1", 0)
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	l := discovertest.Link{Client: a, PID: 1, Dialled: port("203.0.113.1:80"), Seen: addr("198.51.100.1"), Server: b, Port: 80, Translator: router}
	for range 3 {
		s.natural(5, l)
	}
	same(t, []string{"a/curl > b/nginx:80"}, s.edges(discover.ISN))
	same(t, []string{"a/curl > b/nginx:80"}, s.edges(discover.Conntrack))
	if f := s.findings[len(s.findings)-1]; len(f.Hops) != 1 || f.Hops[0] != "router" {
		t.Errorf("%+v", f)
	}
}

func TestConntrackChain(t *testing.T) {
	now := discovertest.Start
	conn := func(dir discover.Direction, local, remote string) []discover.Connection {
		return []discover.Connection{{ID: "1", Protocol: "tcp", Direction: dir, Local: port(local), Remote: port(remote), Opened: now, Closed: now.Add(time.Second)}}
	}
	step := func(from, to, from2, to2 string) []discover.Translation {
		return []discover.Translation{{Protocol: "tcp", Source: port(from), Destination: port(to), NewSource: port(from2), NewDestination: port(to2)}}
	}
	parts := []discover.Report{
		{Host: "a", Connections: conn(discover.Outbound, "10.0.0.1:4000", "203.0.113.1:80")},
		{Host: "n1", Translations: step("10.0.0.1:4000", "203.0.113.1:80", "100.64.0.1:5000", "203.0.113.1:80")},
		{Host: "n2", Translations: step("100.64.0.1:5000", "203.0.113.1:80", "198.51.100.1:6000", "10.9.0.1:8080")},
		{Host: "b", Connections: conn(discover.Inbound, "10.9.0.1:8080", "198.51.100.1:6000")},
	}
	order := rand.New(rand.NewPCG(1, 1))
	for range 24 {
		j := discover.New(discover.Limits{})
		// A box's table has to be there before TCP ends are kept for it.
		j.Add(discover.Report{Host: "n1", Probe: "p", Seq: 1, Time: now, Translations: step("1.1.1.1:1", "1.1.1.2:2", "1.1.1.3:3", "1.1.1.4:4")}, now)
		var got []discover.Finding
		order.Shuffle(len(parts), func(i, k int) { parts[i], parts[k] = parts[k], parts[i] })
		for i, p := range parts {
			p.Probe, p.Seq, p.Time = "p", uint64(2+i), now
			got = append(got, j.Add(p, now)...)
		}
		if len(got) != 1 || got[0].Client.Host != "a" || got[0].Server.Host != "b" {
			t.Fatalf("%+v", got)
		}
		if d := cmp.Diff([]string{"n1", "n2"}, got[0].Hops); d != "" {
			t.Fatal(d)
		}
	}
}

// A host that floods claims its own share alone: the others lose nothing.
func TestFlood(t *testing.T) {
	s := newScene(25)
	s.joiner = discover.New(discover.Limits{Flows: 64, Streams: 64, Open: 64, Pending: 64, Heard: 64})
	b := s.Host("b", "10.2.0.1", 0).Serve(10, "/usr/sbin/nginx", 80)
	a := s.Host("a", "10.1.0.1", 0).Run(1, "/usr/bin/curl")
	evil := s.Host("evil", "10.1.0.9", 0)
	s.Connect(discovertest.Link{Client: a, PID: 1, Dialled: port("10.2.0.1:80"), Server: b, Port: 80}, s.now, time.Second)
	s.add(a.Report(s.now), 0)
	for i := range 20000 {
		c := discover.Connection{
			ID: fmt.Sprint("f", i), Protocol: "tcp", Direction: discover.Inbound, ISN: s.Rand.Uint64(), Opened: s.now,
			Local: netip.AddrPortFrom(addr("10.1.0.9"), uint16(i)), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 2, byte(i >> 8), byte(i)}), 1),
		}
		if i%2 == 0 {
			c.Direction = discover.Outbound
		}
		evil.Repeat(c)
		if i%5000 == 4999 {
			s.add(evil.Report(s.now), 0)
		}
	}
	s.add(b.Report(s.now), 0)
	s.wait(10 * time.Minute)
	same(t, []string{"a/curl > b/nginx:80"}, s.edges())
	if n := len(s.lonely()); n > 128 {
		t.Errorf("%d one-sided relations of a host that may have 64 flows and 64 streams", n)
	}
	if c, _ := s.joiner.Coverage("evil"); c.Lost == 0 {
		t.Error("the flood is not in the coverage")
	}
}
