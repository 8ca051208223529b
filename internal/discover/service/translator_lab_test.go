//go:build lab

package service_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// SYSTEMS 3.2: where the machines that translate have probes, the way is known
// through three of them; and a client whose probe sees no sequence numbers is
// found all the same, by the tables alone.
func TestWayThroughTranslators(t *testing.T) {
	s := newScene(t)
	s.server()
	s.Server("b1", "tcp/:80")
	blind, home := s.Client("a1"), s.Client("c1")
	boxes := []string{"ra", "rb", "rc", "rd"}
	for _, host := range append([]string{"b1", "c1"}, boxes...) {
		s.probe(host, host)
	}
	s.probe("a1", "a1", "--source", "proc")
	s.await("all probes report", func() bool { return s.watching(len(boxes) + 3) })
	for host, want := range map[string][]string{"a1": {"ra", "rb"}, "c1": {"rd", "rc", "rb"}} {
		s.await("the way of "+host+" is known", func() bool {
			// The first that a box tells is what makes the server look for ways.
			if host == "a1" {
				blind.Dial("tcp", probetest.Forward, true)
			} else {
				home.Dial("tcp", probetest.Forward, false)
			}
			return s.way(host) != nil
		})
		if diff := cmp.Diff(want, s.way(host)); diff != "" {
			t.Errorf("the way of %s: %s", host, diff)
		}
	}
	for _, e := range s.edges() {
		if e != "a1>b1:80 conntrack" && e != "c1>b1:80 isn" {
			t.Errorf("besides: %s", e)
		}
	}
}

// way is by which boxes a host reaches b1, if tables showed it.
func (s *scene) way(host string) []string {
	s.t.Helper()
	var all []client.Relation
	s.ask(&all, "relation", "ls", "--internal", "--host", host)
	for _, r := range all {
		told := slices.ContainsFunc(r.Evidence, func(e client.RelationEvidence) bool { return e.Kind == "conntrack" })
		for _, p := range r.Paths {
			if told && p.Hops != nil {
				return p.Hops
			}
		}
	}
	return nil
}
