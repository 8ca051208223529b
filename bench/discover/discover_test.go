package main

import (
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// The whole way from reports to the graph, with orders of patterns in between,
// in a small fleet. SYSTEMS 3.4, 3.5, 3.8.
func TestSmallFleet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		setting
		kind              discover.Evidence
		precision, recall float64
	}{
		{setting{Name: "isn", Hosts: 100}, discover.ISN, 1, 0.99},
		{setting{Name: "timing", Hosts: 100, NoISN: true}, discover.Timing, 1, 0.5},
		// Chance, and so one wrong pair of 780, is in what patterns show; the bar is
		// for a larger fleet.
		{setting{Name: "pattern", Hosts: 100, NoISN: true, Patterns: 20 * time.Minute}, discover.Pattern, 0.998, 0.99},
	} {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for _, s := range measure(c.setting, 7).Scores {
				if s.Evidence == string(c.kind) && (s.Precision < c.precision || s.Recall < c.recall) {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}
