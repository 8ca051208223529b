package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/inspect"
)

// holds is an image with a system, or none, and members of arrays.
func holds(system bool, members ...inspect.Membership) *Result {
	r := &Result{Report: &inspect.Report{}}
	if system {
		r.Report.System.Root = "p3"
	}
	for i := range members {
		r.Report.Volumes = append(r.Report.Volumes, inspect.Volume{Member: &members[i]})
	}
	return r
}

func half(array string, events uint64, mounts ...string) inspect.Membership {
	return inspect.Membership{Array: array, Level: 1, Current: true, Events: events, Mounts: mounts}
}

// TestTwins has of images with halves of the same mirrors one that is repaired, whatever
// each of the mirrors would say by itself, and none of images that share no system.
// SYSTEMS 5.6
func TestTwins(t *testing.T) {
	t.Parallel()
	level5, level10 := half("r", 5, "/"), half("r", 5, "/")
	level5.Level, level10.Level = 5, 10
	spare := inspect.Membership{Array: "r", Level: 1, Events: 9}
	for name, k := range map[string]struct {
		images []*Result // a, b, c
		twins  []string  // image, that which has the better half, and whether it is older
		says   string    // in the first's note
	}{
		"in step":                        {[]*Result{holds(true, half("r", 5, "/")), holds(true, half("r", 5, "/"))}, []string{"b a false"}, "both have 5 events"},
		"/boot in step, / is not":        {[]*Result{holds(true, half("b", 4, "/boot"), half("r", 3, "/")), holds(true, half("b", 4, "/boot"), half("r", 5, "/"))}, []string{"a b true"}, "with 3 events, and image b has 5;"},
		"/ in step, /boot is not":        {[]*Result{holds(true, half("b", 4, "/boot"), half("r", 5, "/")), holds(true, half("b", 6, "/boot"), half("r", 5, "/"))}, []string{"a b true"}, "with 4 events, and image b has 6;"},
		"opposed":                        {[]*Result{holds(true, half("b", 7, "/boot"), half("r", 3, "/")), holds(true, half("b", 4, "/boot"), half("r", 5, "/"))}, []string{"a b true"}, "with 3 events, and image b has 5 (of the mirror with /boot it has the newer half"},
		"three":                          {[]*Result{holds(true, half("r", 3, "/")), holds(true, half("r", 4, "/")), holds(true, half("r", 5, "/"))}, []string{"a c true", "b c true"}, "image c has 5"},
		"of data alone":                  {[]*Result{holds(true, half("d", 3, "/data")), holds(false, half("d", 5))}, nil, ""},
		"of data beside those of /":      {[]*Result{holds(true, half("d", 3, "/data"), half("r", 5, "/")), holds(true, half("d", 9, "/data"), half("r", 5, "/"))}, []string{"b a false"}, "both have 5 events"},
		"the newer /boot without system": {[]*Result{holds(true, half("b", 3, "/boot")), holds(false, half("b", 5))}, []string{"b a false"}, "it has no system"},
		"without system first":           {[]*Result{holds(false, half("b", 5)), holds(true, half("b", 3, "/boot"))}, []string{"a b false"}, "it has no system"},
		"a spare":                        {[]*Result{holds(false, spare), holds(true, half("r", 5, "/"))}, []string{"a b true"}, "it is a spare"},
		"a spare beside a system":        {[]*Result{holds(true, spare), holds(true, half("r", 5, "/"))}, nil, ""},
		"stripes of mirrors":             {[]*Result{holds(true, level10), holds(true, level10)}, []string{"b a false"}, "both have 5 events"},
		"no mirror":                      {[]*Result{holds(true, level5), holds(true, level5)}, nil, ""},
		"not looked into":                {[]*Result{nil, holds(true, half("r", 5, "/"))}, nil, ""},
	} {
		names := []string{"a", "b", "c"}[:len(k.images)]
		twins := Twins(names, k.images)
		var got []string
		for _, n := range slices.Sorted(maps.Keys(twins)) {
			got = append(got, fmt.Sprint(n, " ", twins[n].Image, " ", twins[n].Older))
		}
		if !slices.Equal(got, k.twins) {
			t.Errorf("%s: %q, want %q", name, got, k.twins)
		} else if len(got) > 0 && !strings.Contains(twins[got[0][:1]].Note, k.says) {
			t.Errorf("%s: %s", name, twins[got[0][:1]].Note)
		}
	}
}
