package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/droveway/droveway/bench/canvas/canvastest"
	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/bench/verdict"
)

func took(wall, cpu, peak float64) cost.Cost {
	return cost.Cost{WallMS: wall, CPUMS: cpu, PeakMiB: peak}
}

// example is a report in which each bar is just reached.
func example() report {
	r := report{
		Rounds: 1, FarBytes: 100 << 20, Rate: 10 << 20,
		Conversions: []conversion{
			{Way: wayChecked, Answer: "debian12, 7 files changed, boot ok: it asks for a login", Cost: took(100e3, 60e3, 900)},
			{Way: wayRepaired, Boots: "ok: it asks for a login", Cost: took(30e3, 36e3, 300)},
			{Way: wayMended, Cost: took(10e3, 9e3, 0)},
			{Way: wayV2V, Boots: "failed: no root", Cost: took(100e3, 180e3, 900)},
		},
		Rewritings: []rewriting{
			{From: "monolithicSparse", Way: wayOwn, Cost: took(1100, 2200, 0)},
			{From: "monolithicSparse", Way: wayQEMU, Cost: took(1000, 2000, 0)},
			{From: "streamOptimized", Way: wayOwn, Cost: took(5500, 3300, 0)},
			{From: "streamOptimized", Way: wayQEMU, Cost: took(5000, 3000, 0)},
		},
		Firsts: []first{{Way: waySwitchFirst, Login: 12}, {Way: wayImportFirst, Login: 20}},
	}
	r.judge()
	return r
}

func TestBars(t *testing.T) {
	t.Parallel()
	r := example()
	if !verdict.Met(r.Bars) || len(r.Bars) != 11 {
		t.Errorf("what is just reached counts as missed: %+v", r.Bars)
	}
	r.Bars, r.Conversions[1].Boots, r.Firsts[0].Login = nil, "failed: no root", 12.1
	r.Conversions[0].WallMS, r.Conversions[0].PeakMiB, r.Conversions[1].CPUMS = 101e3, 901, 36.1e3
	r.Conversions[0].CPUMS, r.Conversions[2].CPUMS = 60.1e3, 9.1e3
	for i := range r.Rewritings {
		if r.Rewritings[i].Way == wayQEMU {
			r.Rewritings[i].Cost = took(900, 1900, 0)
		}
	}
	r.judge()
	for _, b := range r.Bars {
		if b.Met {
			t.Errorf("%+v is not reached", b)
		}
	}
	var b bytes.Buffer
	if err := r.print(&b); err != nil || strings.Count(b.String(), "FAIL") != 11 {
		t.Errorf("%v:\n%s", err, b.String())
	}
	none := report{Conversions: r.Conversions[:2]}
	if none.judge(); len(none.Bars) != 1 {
		t.Errorf("bars for what was not measured: %+v", none.Bars)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	said := "[  54.7] Inspecting the source\n[  87.0] Converting 12.15 to run on KVM\nvirt-v2v: warning: no way to update Grub2\nvirt-v2v: This guest has virtio drivers installed.\n"
	if got, want := v2vAnswer(said), "converted 12.15; warns: no way to update Grub2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	got, err := ownAnswer([]byte(`{"name": "bench", "system": {"status": "identified", "id": "debian12"}, "changes": [{}, {}], "boot": {"verdict": "ok", "reason": "it asks for a login"}}`))
	if want := "debian12, 2 files changed, boot ok: it asks for a login"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{`{"system": {"id": "debian12"}}`, `{`} { // not repaired, no image
		if _, err := ownAnswer([]byte(bad)); err == nil {
			t.Errorf("%s is an answer", bad)
		}
	}
	if size, err := virtualSize(`{"virtual-size": 2147483648}`); err != nil || size != 2<<30 {
		t.Errorf("%d, %v", size, err)
	}
	if _, err := virtualSize(`{}`); err == nil {
		t.Error("no size is a size")
	}
}

func TestAwaitLogin(t *testing.T) {
	t.Parallel()
	if err := awaitLogin(bufio.NewReader(strings.NewReader("boots\r\nlogin: is no prompt\r\n\r\nweb login: x"))); err != nil {
		t.Error(err)
	}
	if err := awaitLogin(bufio.NewReader(strings.NewReader("(initramfs)"))); err == nil || !strings.Contains(err.Error(), "(initramfs)") {
		t.Errorf("%v", err)
	}
}

// TestPicture draws whatever was measured, and no figure that is none.
func TestPicture(t *testing.T) {
	t.Parallel()
	all := example()
	for name, r := range map[string]report{
		"all": all, "nothing": {}, "convert": {Conversions: all.Conversions[:2]}, "first": {Firsts: all.Firsts, Rate: 1},
		"broken off": {Conversions: []conversion{{Way: wayChecked}}},
	} {
		canvastest.Sound(t, name, picture(&r))
	}
	if svg := string(picture(&all)); !strings.Contains(svg, "virt-v2v") || !strings.Contains(svg, "12 s") {
		t.Error("a way or its figure is not in the picture")
	}
}
