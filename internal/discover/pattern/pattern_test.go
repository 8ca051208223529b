package pattern

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTwoPatternsDifferInFive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		// Neighbours are the hardest: they differ in one byte of the message.
		id := r.Uint32()
		other := id ^ 1<<r.IntN(32)
		a, b := Encode(id), Encode(other)
		if d := distance(a, b); d < 5 {
			t.Fatalf("%08x and %08x differ in %d", id, other, d)
		}
		if a, b := Encode(r.Uint32()), Encode(r.Uint32()); a != b && distance(a, b) < 5 {
			t.Fatal("two patterns differ in less than five")
		}
	}
}

func distance(a, b Code) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestTiming(t *testing.T) {
	delays, holds := Code{0x00, 0xff, 0x12}.Timing()
	ms := time.Millisecond
	if d := cmp.Diff([]time.Duration{0, 1750 * ms, 2050 * ms}, delays[:3]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]time.Duration{40 * ms, 340 * ms, 80 * ms}, holds[:3]); d != "" {
		t.Error(d)
	}
}

const width = 8 * time.Millisecond

func shots(source, member uint32, offset time.Duration, which ...int) (hits []Hit) {
	for _, s := range which {
		jitter := time.Duration(s%3) * time.Millisecond
		hits = append(hits, Hit{Source: source, Member: member, Shot: s, Offset: offset + jitter})
	}
	return hits
}

func join(all ...[]Hit) (hits []Hit) {
	for _, h := range all {
		hits = append(hits, h...)
	}
	return hits
}

func TestBest(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		hits    []Hit
		clear   bool
		count   int
		members []Votes
	}{
		"nothing":              {nil, false, 0, nil},
		"whole":                {shots(1, 5, second, 0, 1, 2, 3, 4, 5, 6, 7), true, 8, []Votes{{5, 8}}},
		"two lost":             {shots(1, 5, second, 0, 1, 2, 3, 4, 5), true, 6, []Votes{{5, 6}}},
		"three lost":           {shots(1, 5, second, 0, 1, 2, 3, 4), false, 5, []Votes{{5, 5}}},
		"one repeated":         {shots(1, 5, second, 0, 0, 0, 1, 1, 2, 3, 4), false, 5, []Votes{{5, 5}}},
		"balanced over two":    {join(shots(1, 5, second, 0, 2, 4, 6), shots(1, 6, second, 1, 3, 5, 7)), true, 8, []Votes{{5, 4}, {6, 4}}},
		"chance in the pool":   {join(shots(1, 5, second, 0, 2, 4, 6), shots(1, 6, second, 1, 3, 5), shots(1, 7, second, 7)), true, 8, []Votes{{5, 4}, {6, 3}}},
		"noise of the source":  {join(shots(1, 5, second, 0, 1, 2, 3, 4, 5, 6, 7), shots(1, 5, 3*second, 1, 2)), true, 8, []Votes{{5, 8}}},
		"another source":       {join(shots(1, 5, second, 0, 1, 2, 3), shots(2, 5, second, 4, 5, 6, 7)), false, 4, []Votes{{5, 4}}},
		"two equal candidates": {join(shots(1, 5, second, 0, 1, 2, 3, 4, 5, 6), shots(2, 6, second, 0, 1, 2, 3, 4, 5, 6)), false, 7, []Votes{{5, 7}}},
		"spread in time":       {join(shots(1, 5, second, 0, 1, 2, 3), shots(1, 5, second+3*width, 4, 5, 6, 7)), false, 4, []Votes{{5, 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := Best(c.hits, width)
			if m.Clear() != c.clear || m.Count != c.count {
				t.Errorf("clear %v, count %d: %+v", m.Clear(), m.Count, m)
			}
			if d := cmp.Diff(c.members, m.Members); d != "" {
				t.Error(d)
			}
		})
	}
}
