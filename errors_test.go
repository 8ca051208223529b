package droveway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	conflict := Errorf(Conflict, "machine web runs")
	plain := errors.New("broken")
	for name, c := range map[string]struct {
		err  error
		want Kind
	}{
		"none":                     {nil, ""},
		"without a kind":           {plain, Internal},
		"its own":                  {conflict, Conflict},
		"wrapped":                  {fmt.Errorf("start: %w", fmt.Errorf("on host a: %w", conflict)), Conflict},
		"the outermost":            {Errorf(Unavailable, "ask again: %w", conflict), Unavailable},
		"a plain cause":            {Errorf(NotFound, "image: %w", plain), NotFound},
		"joined":                   {errors.Join(plain, conflict), Conflict},
		"the first of two joined":  {errors.Join(Errorf(Exists, "there"), conflict), Exists},
		"joined without any":       {errors.Join(plain, fs.ErrNotExist), Internal},
		"two causes in one":        {fmt.Errorf("%w, and %w", plain, conflict), Conflict},
		"a missing feature":        {Missing("kvm", "host a has no KVM"), Unsupported},
		"a wrapped missing one":    {fmt.Errorf("place: %w", Missing("kvm", "none")), Unsupported},
		"joined, all without":      {errors.Join(nil, plain), Internal},
		"joined of nothing at all": {errors.Join(nil, nil), ""},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if or := KindOr(c.err, Exists); c.want != "" && c.want != Internal && or != c.want || c.want == Internal && or != Exists {
			t.Errorf("%s: %q if nothing else is said", name, or)
		}
		if c.want != "" && !Is(c.err, c.want) {
			t.Errorf("%s: it is not of its kind", name)
		}
		if Is(c.err, Permission) || Is(c.err, "") {
			t.Errorf("%s: it is of another kind", name)
		}
	}
}

func TestErrorfKeepsTheCause(t *testing.T) {
	t.Parallel()
	err := Errorf(NotFound, "open %s: %w", "disk", fs.ErrNotExist)
	if got, want := err.Error(), "open disk: file does not exist"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
	if two := Errorf(Invalid, "%w, %w", fs.ErrNotExist, fs.ErrExist); !errors.Is(two, fs.ErrNotExist) || !errors.Is(two, fs.ErrExist) {
		t.Error("one of two causes is lost")
	}
	if c := errors.Unwrap(Errorf(Invalid, "no cause")); c != nil {
		t.Errorf("cause %v of an error without one", c)
	}
}

// SYSTEMS 1.2: the missing feature is named.
func TestMissingNamesTheFeature(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("move: %w", Missing("migrate", "host %s cannot move guests", "a"))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Feature != "migrate" || e.Message != "host a cannot move guests" {
		t.Errorf("%+v", e)
	}
}

func TestErrorOnTheWire(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Errorf(Conflict, "machine web: %w", fs.ErrExist))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"kind":"conflict","message":"machine web: file already exists"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
