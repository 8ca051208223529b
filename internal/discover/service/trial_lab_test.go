//go:build lab

package service_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// hosts are those that are watched, and the sites that they are in.
var hosts = map[string]string{"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "c1": "c", "c2": "c2"}

// trial is who talks to whom in a scene.
type trial struct {
	*scene
	servers map[int]string // host, by process
	clients map[string]*probetest.Client
	truth   map[string]bool
}

func newTrial(s *scene) *trial {
	t := &trial{s, map[int]string{}, map[string]*probetest.Client{}, map[string]bool{}}
	for _, host := range []string{"b1", "b2"} {
		t.servers[s.Server(host, "tcp/:80")] = host
	}
	for _, host := range []string{"a1", "a2", "a3", "b2", "c1", "c2"} {
		t.clients[host] = s.Client(host)
	}
	return t
}

func (t *trial) dial(host, address string, hold bool) {
	t.t.Helper()
	d := t.clients[host].Dial("tcp", address, hold)
	t.truth[fmt.Sprintf("%s>%s:80 isn", host, t.servers[d.Server])] = true
}

// found waits for the relations, and sees that there are no others.
func (t *trial) found(when string) {
	t.t.Helper()
	want := slices.Sorted(maps.Keys(t.truth))
	t.await("all relations are found "+when, func() bool { return len(t.edges()) >= len(want) })
	if diff := cmp.Diff(want, t.edges()); diff != "" {
		t.t.Errorf("%s: %s", when, diff)
	}
}

// first has everybody talk, one of them before there is a probe.
func (t *trial) first(more func(host string) []string) {
	t.t.Helper()
	t.dial("a3", probetest.Forward, true)
	for host, site := range hosts {
		t.probe(host, site, more(host)...)
	}
	t.await("all probes report", func() bool { return t.watching(len(hosts)) })
	for range 2 { // the balancer takes turns
		t.dial("a1", probetest.Balanced, false)
	}
	t.dial("a2", probetest.Forward, false)
	t.dial("c1", probetest.Forward, false)
	t.found("at first")
}

// second changes the public address, and has a server reach its neighbour by the
// forwarded port, and the second home of a carrier talk for the first time.
func (t *trial) second() {
	t.t.Helper()
	t.Rotate()
	t.Hairpin()
	for _, host := range []string{"a2", "a2", "c2", "c2"} { // the balancer takes turns
		t.dial(host, probetest.Balanced, false)
	}
	t.dial("b2", probetest.Forward, false)
	t.found("after the public address changed")
	if !t.reaches("a2", probetest.Rotated) {
		t.t.Errorf("no relation of a2 has the new address")
	}
}

// reaches reports whether a host has reached a server from a public address.
func (s *scene) reaches(host, seen string) bool {
	s.t.Helper()
	var all []client.Relation
	s.ask(&all, "relation", "ls", "--internal", "--host", host)
	return slices.ContainsFunc(all, func(r client.Relation) bool {
		return slices.ContainsFunc(r.Paths, func(p client.RelationPath) bool { return p.Seen.String() == seen })
	})
}

func plain(string) []string { return nil }

// SYSTEMS 3.1, 3.2, 3.6, 3.10: behind a masquerade with three clients, behind the
// translators of homes and of their carrier with addresses that are used in three
// places, through a forwarded port and a load balancer, the edges are those of the
// traffic, no more and no fewer; and they outlive the server. So they are after the
// public address has changed, and where a server reaches its neighbour by the
// forwarded port.
func TestRelations(t *testing.T) {
	s := newScene(t)
	stop := s.server()
	trial := newTrial(s)
	trial.first(plain)
	s.checkAnswers()

	stop()
	s.server()
	trial.found("after a restart of the server")
	s.await("all probes report again", func() bool { return s.watching(len(hosts)) })
	trial.second()
}

// SYSTEMS 3.4, 3.10: strangers open 200 connections a second from the address that
// three clients have, to the servers that they use. The edges are the same.
func TestRelationsInNoise(t *testing.T) {
	s := newScene(t)
	s.server()
	s.Noise(probetest.Forward, probetest.Balanced)
	begun := time.Now()
	s.Count(probetest.Stranger, 8080)
	trial := newTrial(s)
	trial.first(plain)
	trial.second()
	half := probetest.Noise * time.Since(begun).Seconds() / 2 // the other half is balanced
	if n := s.Counted(probetest.Stranger)["syn"]; float64(n) < half/2 {
		t.Errorf("%d connections of noise instead of %.0f", n, half)
	}
}

// SYSTEMS 3.5: no two clocks agree, by up to ten minutes. The edges are the same.
func TestRelationsWithClocksOff(t *testing.T) {
	s := newScene(t)
	s.server()
	trial := newTrial(s)
	trial.first(offClock)
	trial.second()
}

// ahead is how far clocks are off.
var ahead = map[string]time.Duration{
	"a1": 5 * time.Minute, "a2": -5 * time.Minute, "a3": 4 * time.Minute, "b1": -5 * time.Minute,
	"b2": 5 * time.Minute, "c1": -3 * time.Minute, "c2": 2 * time.Minute,
}

func offClock(host string) []string { return []string{"--clock-ahead=" + ahead[host].String()} }
