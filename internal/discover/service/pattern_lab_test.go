//go:build lab

package service_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// patternTime is how long two rounds of patterns may take, and a third that is cut
// off. Nothing is opened in the first minute, nor in the next after a restart.
const patternTime = 8 * time.Minute

// SYSTEMS 3.4, 3.5, 3.9: where a proxy has sequence numbers of its own, a pattern
// shows who uses which server behind it, among 200 connections a second of
// strangers and with clocks ten minutes apart; and what opted out gets none. A
// server that restarts in the middle of a pattern begins anew, later.
func TestPatternsThroughProxy(t *testing.T) {
	s := newScene(t)
	stop := s.server()
	s.Server("b1", "tcp/:80")
	s.Server("b2", "tcp/:80")
	s.Proxy()
	for host, site := range map[string]string{"a1": "a", "a2": "a", "b1": "b", "b2": "b"} {
		s.probe(host, site, append(offClock(host), "--active")...)
	}
	s.await("all probes report", func() bool { return s.watching(4) })
	s.Noise(probetest.Proxied)
	optedOut := netip.MustParseAddrPort(probetest.Proxied)
	s.ask(nil, "relation", "policy", "set", "--site", "a", "--opt-out", optedOut.String())
	one := s.Client("a1")
	s.Client("a2") // talks to nobody
	begun := time.Now()
	for time.Since(begun) < 75*time.Second {
		one.Dial("tcp", probetest.Proxied, false)
		time.Sleep(5 * time.Second)
	}
	s.Count("a1", int(optedOut.Port()))
	plan := s.plan("a1")
	if len(plan) != 1 || plan[0].Refused != "the target opted out" {
		t.Errorf("the plan for a1: %+v", plan)
	}
	if n := s.Counted("a1"); n["syn"] != 0 {
		t.Errorf("an opted out target got %v", n)
	}
	s.ask(nil, "relation", "policy", "set", "--opt-out", "")
	s.untilUnderWay(one, begun)
	stop()
	s.server()
	for !s.confirmed("a1") {
		if time.Since(begun) > patternTime {
			t.Fatalf("not confirmed: %+v %v", s.plan("a1"), s.edges())
		}
		one.Dial("tcp", probetest.Proxied, false)
		time.Sleep(2 * time.Second)
	}
	if got := fmt.Sprint(s.edges()); got != "[a1>b1:80 pattern]" {
		t.Errorf("relations: %s", got)
	}
}

// untilUnderWay waits for a pattern, while there is traffic as before.
func (s *scene) untilUnderWay(c *probetest.Client, begun time.Time) {
	s.t.Helper()
	for {
		for _, p := range s.plan("a1") {
			if p.State == "scheduled" || p.State == "emitted" {
				return
			}
		}
		if time.Since(begun) > patternTime {
			s.t.Fatalf("no pattern is under way: %+v", s.plan("a1"))
		}
		c.Dial("tcp", probetest.Proxied, false)
		time.Sleep(time.Second)
	}
}

func (s *scene) plan(host string) (mine []client.PlannedPattern) {
	s.t.Helper()
	var all []client.PlannedPattern
	s.ask(&all, "relation", "plan")
	for _, p := range all {
		if p.Host == host {
			mine = append(mine, p)
		}
	}
	return mine
}

func (s *scene) confirmed(host string) bool {
	for _, p := range s.plan(host) {
		if p.State == "confirmed" {
			return true
		}
	}
	return false
}
