package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/bench/verdict"
	"github.com/droveway/droveway/internal/discover"
)

// Evidence that found nothing misses its bars.
func TestExact(t *testing.T) {
	t.Parallel()
	good := score{Evidence: "isn", Found: 9, Precision: 1, Recall: 1}
	for name, c := range map[string]struct {
		scores []score
		met    bool
	}{
		"good":          {[]score{{Evidence: "timing"}, good}, true},
		"not there":     {[]score{{Evidence: "timing", Found: 9, Precision: 1, Recall: 1}}, false},
		"found nothing": {[]score{{Evidence: "isn", Precision: 1, Recall: 1}}, false},
	} {
		var r report
		if r.exact("here", c.scores, "isn", 0.999, 0); len(r.Bars) != 2 || verdict.Met(r.Bars) != c.met {
			t.Errorf("%s: %+v", name, r.Bars)
		}
	}
}

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
		{setting{Name: "pattern", Hosts: 100, NoISN: true, Patterns: 20 * time.Minute}, discover.Pattern, 0.999, 0.995},
	} {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			all := measure(c.setting, 7).Scores
			i := slices.IndexFunc(all, func(s score) bool { return s.Evidence == string(c.kind) })
			if i < 0 {
				t.Fatalf("no relation by %s: %+v", c.kind, all)
			}
			if s := all[i]; s.Precision < c.precision || s.Recall < c.recall {
				t.Errorf("%+v", s)
			}
			if d := cmp.Diff(all, measure(c.setting, 7).Scores, cmp.AllowUnexported(score{})); d != "" {
				t.Errorf("the same seed shows another fleet (-first +second):\n%s", d)
			}
		})
	}
}
