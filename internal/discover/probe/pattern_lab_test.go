//go:build lab

package probe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/emit"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// plan is a pattern from a client's namespace.
func plan(c *probetest.Client, to string, connections int) discover.Assignment {
	now := time.Now()
	a := discover.Assignment{Pattern: "p1", Destination: netip.MustParseAddrPort(to), PID: c.PID, Start: now, Expires: now.Add(time.Minute)}
	for i := range connections {
		a.Delays = append(a.Delays, time.Duration(i)*300*time.Millisecond)
		a.Holds = append(a.Holds, time.Duration(40+20*i)*time.Millisecond)
	}
	return a
}

// SYSTEMS 3.8: as many SYNs as planned, no byte, no reset; the server's end of
// each lasts as long as the probe says that it held it.
func TestPattern(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80")
	c := n.Client("a1")
	p, s, _ := begin(t, Config{Patterns: true})
	n.Count("a1", 8080)
	if err := p.Assign(plan(c, probetest.Forward, 5)); !droveway.Is(err, droveway.Permission) {
		t.Fatalf("the host does not talk to the destination, and yet: %v", err)
	}
	truth := c.Dial("tcp", probetest.Forward, true)
	s.until("natural traffic", func() bool { _, _, ok := s.ends(truth); return ok })
	if err := p.Assign(plan(c, probetest.Forward, 5)); err != nil {
		t.Fatal(err)
	}
	s.until("the pattern", func() bool { return len(s.emitted) == 5 })
	counted := n.Counted("a1")
	if counted["syn"] != 5+1 || counted["rst"] != 0 || counted["data"] != 1 { // the client's own
		t.Errorf("on the wire: %v", counted)
	}
	wrong := 0
	for _, e := range s.emitted {
		if e.Error != "" {
			t.Errorf("%+v", e)
		}
		s.until("the server's end", func() bool { return s.heard(e, late) })
		s.mu.Lock()
		if !s.heard(e, symbols) {
			wrong++
			t.Logf("the server's end of %+v would be read as another symbol", e)
		}
		s.mu.Unlock()
	}
	if wrong > 1 { // of a pattern, one may be
		t.Errorf("%d of %d would be read wrong", wrong, len(s.emitted))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, found := range s.connections {
		if found.Direction == discover.Outbound && found.Remote == truth.Dialled && found.Local != truth.Local {
			t.Errorf("a connection of a pattern is reported: %+v", found)
		}
	}
}

// off is by how much what a server saw may differ from what was emitted.
type off struct{ opened, held time.Duration }

var (
	// The code's symbols are 50 ms apart in when a connection opens, and 20 ms in how
	// long it is held: what is off by less than half of that is read right. Both ends
	// are measured in the kernel, and what comes between is its work.
	symbols = off{25 * time.Millisecond, 10 * time.Millisecond}
	// A kernel that has no processor for that may be late by this.
	late = off{100 * time.Millisecond, 100 * time.Millisecond}
)

// heard reports whether a server saw a connection of a pattern as it was emitted.
func (s *server) heard(e discover.Emission, by off) bool {
	held := e.Closed.Sub(e.Opened)
	for _, c := range s.connections {
		if c.Direction == discover.Inbound && c.Opened.Sub(e.Opened).Abs() < by.opened && (c.Closed.Sub(c.Opened)-held).Abs() < by.held {
			return true
		}
	}
	return false
}

// SYSTEMS 3.9: what is denied or opted out gets no SYN, and a reset ends it.
func TestPatternRefused(t *testing.T) {
	n := probetest.New(t)
	n.Server("rb", "tcp/:22", "tcp/:8443")
	c := n.Client("a1")
	optOut := emit.Target{Addresses: netip.MustParsePrefix("203.0.113.0/24"), Port: 8443}
	p, s, _ := begin(t, Config{Patterns: true, OptOut: []emit.Target{optOut}})
	for _, port := range []string{"22", "8443"} {
		truth := c.Dial("tcp", probetest.Outside+port, false)
		s.until("natural traffic", func() bool { _, _, ok := s.ends(truth); return ok })
	}
	for port, to := range map[int]string{22: probetest.Outside + "22", 8443: probetest.Outside + "8443"} {
		n.Count("a1", port)
		if err := p.Assign(plan(c, to, 3)); !droveway.Is(err, droveway.Permission) {
			t.Errorf("port %d: %v", port, err)
		}
		if counted := n.Counted("a1"); counted["syn"] != 0 {
			t.Errorf("port %d: %v", port, counted)
		}
	}
	// The destination goes away: one SYN, one reset, no more.
	p.knows(probetest.Outside + "9999")
	n.Count("a1", 9999)
	if err := p.Assign(plan(c, probetest.Outside+"9999", 4)); err != nil {
		t.Fatal(err)
	}
	s.until("the end of the pattern", func() bool { return len(s.emitted) == 1 && s.emitted[0].Error == "reset by the other end" })
	// Nobody answers: one SYN, not repeated.
	n.Run("rb", "table ip silent {\n chain in { type filter hook input priority 0; tcp dport 9998 drop; }\n}\n", "nft", "-f", "-")
	p.knows(probetest.Outside + "9998")
	if counted := n.Counted("a1"); counted["syn"] != 1 {
		t.Errorf("after a reset: %v", counted)
	}
	n.Count("a1", 9998)
	if err := p.Assign(plan(c, probetest.Outside+"9998", 4)); err != nil {
		t.Fatal(err)
	}
	s.until("the end of the pattern", func() bool { return len(s.emitted) == 2 && s.emitted[1].Error == "no answer" })
	if counted := n.Counted("a1"); counted["syn"] != 1 {
		t.Errorf("without an answer: %v", counted)
	}
}

// knows has the host talk to a destination that does not answer.
func (p *Probe) knows(to string) {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.ledger.contact(tuple{protocol: "tcp", remote: netip.MustParseAddrPort(to)})
}

// A probe that ends mid-pattern leaves nothing open and nothing unsaid; the next
// one does not go on with it.
func TestRestartMidPattern(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80")
	c := n.Client("a1")
	p, s, stop := begin(t, Config{Patterns: true})
	truth := c.Dial("tcp", probetest.Forward, false)
	s.until("natural traffic", func() bool { _, _, ok := s.ends(truth); return ok })
	n.Count("a1", 8080)
	if err := p.Assign(plan(c, probetest.Forward, 8)); err != nil {
		t.Fatal(err)
	}
	s.until("two connections of the pattern", func() bool { return len(s.emitted) >= 2 })
	stop()
	_, next, _ := begin(t, Config{Patterns: true})
	next.until("a report of the next probe", func() bool { return next.source != "" })
	counted := n.Counted("a1")
	if counted["syn"] != len(s.emitted) || counted["syn"] >= 8 || counted["rst"] != 0 || len(next.emitted) != 0 {
		t.Errorf("on the wire %v, reported %d and %d", counted, len(s.emitted), len(next.emitted))
	}
}
