package identify

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

func TestDefaultCatalog(t *testing.T) {
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(); err != nil {
		t.Error(err)
	}
	known := map[string]bool{}
	for _, s := range c.systems {
		known[s.id] = true
	}
	for _, want := range []string{"debian5", "debian13", "ubuntu10.04", "ubuntu26.04", "rhel5-unknown", "rhel10-unknown", "almalinux10", "rocky10", "ol10.0", "fedora44", "sles11", "sles15sp7", "opensuse15.6", "archlinux", "alpinelinux3.22", "coreos", "flatcar", "amazonlinux2", "amazonlinux2023", "freebsd14.0"} {
		if !known[want] {
			t.Errorf("%s is not known", want)
		}
	}
	last := 0
	for _, test := range c.Tests() {
		if test.cost() < last {
			t.Errorf("%s is cheaper than those before it", test.Name)
		}
		last = test.cost()
	}
}

// add loads one file into an empty catalog.
func add(text string) (*Catalog, error) {
	c := newCatalog()
	return c, c.Add(fstest.MapFS{"x.yaml": {Data: []byte(text)}})
}

const pair = `distro: d
tests:
  a: {fact: a}
  b: {fact: b}
  c: {fact: c}
must: [{test: c}]
features:
  - {test: a, is: '^${v}$', weight: 10}
  - {test: b, is: '^${v}$', weight: 10}
  - {test: b, is: '${none}', weight: 100}
versions:
  - {id: d1, name: D 1, vars: {v: "1.0"}}
  - {id: d2, name: D 2, vars: {v: "2.0"}}
`

func TestMatch(t *testing.T) {
	c, err := add(pair)
	if err != nil {
		t.Fatal(err)
	}
	vector := func(a, b, c string) Vector {
		v := Vector{}
		for name, s := range map[string]string{"a": a, "b": b, "c": c} {
			if s != "" {
				v[name] = Value{Values: []string{s}}
			}
		}
		return v
	}
	for name, k := range map[string]struct {
		vector   Vector
		status   Status
		id       string
		distance float64
	}{
		"all right":      {vector("1.0", "1.0", "x"), Identified, "d1", 0},
		"dots are dots":  {vector("1x0", "2.0", "x"), Unsupported, "", 0},
		"contradiction":  {vector("1.0", "2.0", "x"), Unsupported, "", 0},
		"must is absent": {vector("1.0", "1.0", ""), Unsupported, "", 0},
		"too little":     {vector("1.0", "", "x"), Unsupported, "", 0},
	} {
		r := c.Match(k.vector)
		if r.Status != k.status || r.ID != k.id {
			t.Errorf("%s: %s %q, want %s %q: %v", name, r.Status, r.ID, k.status, k.id, r.Why)
		}
		if r.Status == Identified && r.Ranked[0].Distance != k.distance {
			t.Errorf("%s: distance %g, want %g", name, r.Ranked[0].Distance, k.distance)
		}
	}
}

func TestEvidence(t *testing.T) {
	c, err := add(pair)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Match(Vector{"a": {Values: []string{"0", "1.0"}}, "b": {Values: []string{"3"}}, "c": {Values: []string{"x"}}})
	want := []Finding{
		{Test: "a", Want: `^1\.0$`, Got: "1.0", Weight: 10, Verdict: "for"},
		{Test: "b", Want: `^1\.0$`, Got: "3", Weight: 10, Verdict: "against"},
	}
	if diff := cmp.Diff(want, r.Ranked[0].Evidence); diff != "" {
		t.Error(diff)
	}
}

func TestBadFiles(t *testing.T) {
	for name, text := range map[string]string{
		"no yaml":         "distro: [",
		"unknown field":   "distro: x\ncolour: red\n",
		"no such test":    "distro: x\nfeatures: [{test: nope, is: x, weight: 1}]\nversions: [{id: x, name: X}]\n",
		"bad expression":  "distro: x\ntests: {a: {fact: a}}\nfeatures: [{test: a, is: '(', weight: 1}]\nversions: [{id: x, name: X}]\n",
		"two kinds":       "distro: x\ntests: {a: {fact: a, glob: [b]}}\n",
		"no kind":         "distro: x\ntests: {a: {match: a}}\n",
		"no id":           "distro: x\nversions: [{name: X}]\n",
		"the same twice":  "distro: x\nversions: [{id: x, name: X}, {id: x, name: Y}]\n",
		"test there once": "distro: x\ntests: {a: {fact: a}, b: {fact: b, match: '['}}\n",
	} {
		if _, err := add(text); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Default(); err != nil {
			b.Fatal(err)
		}
	}
}
