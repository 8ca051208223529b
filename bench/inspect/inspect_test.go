package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/droveway/droveway/bench/verdict"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	got := median([]cost{{3, 30, 1}, {1, 20, 2}, {2, 10, 3}})
	if want := (cost{2, 20, 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestTimed counts what children take, too.
func TestTimed(t *testing.T) {
	t.Parallel()
	out, c, err := timed(exec.Command("sh", "-c", "i=0; (while [ $i -lt 20000 ]; do i=$((i+1)); done); echo done"))
	if err != nil || string(out) != "done\n" || c.CPUMS <= 0 || c.WallMS <= 0 || c.PeakMiB <= 0 {
		t.Errorf("%q, %+v, %v", out, c, err)
	}
	if _, _, err := timed(exec.Command("sh", "-c", "echo why >&2; exit 3")); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("%v", err)
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	r := report{
		Images: []result{{"debian 12, raw", debian, cost{50, 80, 40}}, {"debian 12, qcow2", debian, cost{101, 90, 101}}, {"luks2", "", cost{900, 900, 300}}},
		Peer:   &result{"virt-inspector", debian, cost{1, 80 * 499, 1}},
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
	r.Bars, r.Images[1].cost, r.Peer.CPUMS = nil, cost{100, 90, 100}, 80*500
	if r.judge(); !verdict.Met(r.Bars) {
		t.Errorf("what is just reached counts as missed: %+v", r.Bars)
	}
}
