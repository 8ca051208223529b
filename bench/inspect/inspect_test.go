package main

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/bench/verdict"
)

func took(wall, cpu, peak float64) cost.Cost {
	return cost.Cost{WallMS: wall, CPUMS: cpu, PeakMiB: peak}
}

func TestBars(t *testing.T) {
	t.Parallel()
	r := report{
		Images: []result{{"debian 12, raw", debian, took(50, 80, 40)}, {"debian 12, qcow2", debian, took(101, 90, 101)}, {"luks2", "", took(900, 900, 300)}},
		Peer:   &result{"virt-inspector", debian, took(1, 80*499, 1)},
	}
	r.judge()
	for _, b := range r.Bars {
		if b.Met {
			t.Errorf("%+v is not reached", b)
		}
	}
	var b bytes.Buffer
	if err := r.print(&b); err != nil || strings.Count(b.String(), "FAIL") != 3 {
		t.Errorf("%v:\n%s", err, b.String())
	}
	drawn := picture(&r)
	for _, want := range []string{"virt-inspector", "debian 12, qcow2", "39920 ms", "101 MiB"} {
		if !bytes.Contains(drawn, []byte(want)) {
			t.Errorf("the picture says nothing of %q", want)
		}
	}
	if err := xml.Unmarshal(drawn, new(struct{})); err != nil {
		t.Errorf("the picture is no XML: %v", err)
	}
	r.Bars, r.Images[1].Cost, r.Peer.CPUMS = nil, took(100, 90, 100), 80*500
	if r.judge(); !verdict.Met(r.Bars) {
		t.Errorf("what is just reached counts as missed: %+v", r.Bars)
	}
}
