package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/droveway/droveway/bench/verdict"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	got, err := parseTime([]byte("7 (a b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0"))
	if got != 2*time.Second || err != nil {
		t.Error(got, err)
	}
	for _, text := range []string{"", "7 (a) S 1 2", "7 (a) S 1 2 3 4 5 6 7 8 9 10 x y"} {
		if _, err := parseTime([]byte(text)); err == nil {
			t.Errorf("%q has a time", text)
		}
	}
}

func TestResident(t *testing.T) {
	t.Parallel()
	if kib, err := residentKiB(os.Getpid()); kib < 1000 || err != nil {
		t.Error(kib, err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if n, err := load(ctx, 100); n < 5 || n > 20 || err != nil {
		t.Error(n, err)
	}
}

// A probe that misses connections does not pass, however little it takes.
func TestJudge(t *testing.T) {
	t.Parallel()
	good := measured{Source: "s", Opened: 10, Reported: 20, Process: 1, Programs: 0.5, ResidentKiB: 30 << 10}
	for _, tt := range []struct {
		name   string
		change func(*measured)
		met    bool
	}{
		{"good", func(*measured) {}, true},
		{"slow", func(m *measured) { m.Programs = 1 }, false},
		{"large", func(m *measured) { m.ResidentKiB = 40 << 10 }, false},
		{"blind", func(m *measured) { m.Reported = 19 }, false},
	} {
		m := good
		tt.change(&m)
		r := report{Sources: []measured{m}}
		if verdict.Met(judge(r)) != tt.met {
			t.Errorf("%s: %+v", tt.name, judge(r))
		}
	}
}
