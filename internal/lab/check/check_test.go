package check

import (
	"bytes"
	"slices"
	"testing"

	"github.com/droveway/droveway/internal/lab/observer"
	"github.com/droveway/droveway/internal/lab/record"
)

const testSize = 64 * record.Size

// disk is a region on which the records up to last were written, but for some.
func disk(t *testing.T, size int64, last uint64, without ...uint64) []byte {
	t.Helper()
	a, err := record.NewArea(size)
	if err != nil {
		t.Fatal(err)
	}
	region := make([]byte, size)
	for seq := uint64(1); seq <= last; seq++ {
		if !slices.Contains(without, seq) {
			record.Record{Seq: seq, Slot: a.Slot(seq)}.Encode(region[a.Offset(a.Slot(seq)):][:record.Size])
		}
	}
	return region
}

func summary(durable ...uint64) (s observer.Summary) {
	first := uint64(1)
	for i, d := range durable {
		s.Runs = append(s.Runs, observer.Note{Report: record.Report{Run: uint64(i), First: first, Durable: d}})
		first = d + 1
	}
	return s
}

func TestRegion(t *testing.T) {
	t.Parallel()
	rewound := summary(50, 60)
	rewound.Runs[1].First = 48
	for name, c := range map[string]struct {
		disk   []byte
		noted  observer.Summary
		newest uint64
		lost   uint64
	}{
		"all there":                    {disk(t, testSize, 50), summary(50), 50, 0},
		"more than acknowledged":       {disk(t, testSize, 51), summary(50), 51, 0},
		"the newest is gone":           {disk(t, testSize, 49), summary(50), 49, 1},
		"one in between is gone":       {disk(t, testSize, 50, 20), summary(50), 50, 1},
		"second time round":            {disk(t, testSize, 1000), summary(1000), 1000, 0},
		"second time round, one gone":  {disk(t, testSize, 1000, 990), summary(1000), 1000, 1},
		"an empty disk":                {make([]byte, testSize), summary(50), 0, 50},
		"nothing acknowledged":         {make([]byte, testSize), summary(), 0, 0},
		"two runs":                     {disk(t, testSize, 60), summary(50, 60), 60, 0},
		"the second run began earlier": {disk(t, testSize, 60), rewound, 60, 3},
	} {
		r, err := Region(bytes.NewReader(c.disk), testSize, c.noted)
		if err != nil {
			t.Fatal(err)
		}
		if r.Newest != c.newest || r.Lost != c.lost || r.Acknowledged != c.noted.Acknowledged() {
			t.Errorf("%s: %+v: want newest %d, lost %d", name, r, c.newest, c.lost)
		}
	}
}

func TestARegionTooShortIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Region(bytes.NewReader(make([]byte, testSize-1)), testSize, summary(1)); err == nil {
		t.Error("a short region was read")
	}
}
