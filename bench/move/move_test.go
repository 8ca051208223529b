package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{7}, 0.99, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{0, 100}, 0.99, 99},
		{[]float64{5, 1}, 0, 1},
		{[]float64{5, 1}, 1, 5},
	} {
		if got := quantile(c.values, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile %v of %v is %v: want %v", c.q, c.values, got, c.want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("no values have a median")
	}
}

func TestScheduleLetsNoModeAlwaysBegin(t *testing.T) {
	t.Parallel()
	got := schedule(2, []int64{1024, 64}, []mode{switchFirst, preCopy})
	want := []trial{
		{1, 64, switchFirst},
		{1, 64, preCopy},
		{1, 1024, switchFirst},
		{1, 1024, preCopy},
		{2, 64, preCopy},
		{2, 64, switchFirst},
		{2, 1024, preCopy},
		{2, 1024, switchFirst},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBudgetKnowsWhatItHasSeen(t *testing.T) {
	t.Parallel()
	b := budget{limit: 10 * time.Minute}
	big := trial{1, 8192, preCopy}
	if why := b.refuse(big, 0); why != "" {
		t.Errorf("refused with all the time left: %s", why)
	}
	if why := b.refuse(big, 9*time.Minute); !strings.Contains(why, "1m0s are left") {
		t.Errorf("with a minute left: %q", why)
	}
	b.learn(big, 20*time.Second)
	big.Run = 2
	if why := b.refuse(big, 9*time.Minute); why != "" {
		t.Errorf("refused what was seen to take 20 s: %s", why)
	}
	if why := (&budget{}).refuse(big, time.Hour); why != "" {
		t.Errorf("refused without a limit: %s", why)
	}
}

// example has figures like those that a first trial of the method gave.
func example() []result {
	make1 := func(run int, size int64, m mode, running, gap float64, sync float64) result {
		return result{
			trial: trial{run, size, m}, Filled: true, RequestToRunning: running, RequestToDone: running + 1000*sync, ClientGap: gap,
			ClientGapSwitch: gap / 2, QEMUDowntime: gap / 4, Sync: &sync, Acknowledged: 1000, SessionKept: true,
		}
	}
	return []result{
		make1(1, 64, switchFirst, 920, 423, 0.3), make1(1, 64, preCopy, 1710, 163, 0.4),
		make1(1, 1024, switchFirst, 1050, 500, 9), make1(1, 1024, preCopy, 10300, 114, 9),
		make1(1, 8192, switchFirst, 940, 284, 54), make1(1, 8192, preCopy, 52500, 158, 50),
		make1(2, 8192, switchFirst, 1000, 300, 56), make1(2, 8192, preCopy, 51000, 200, 49),
	}
}

func TestSummaryIsMediansAndSums(t *testing.T) {
	t.Parallel()
	rows := summarize(example())
	sync := 55.0
	want := row{
		DiskMiB: 8192, Filled: true, Mode: switchFirst, Runs: 2, RequestToRunning: 970, RequestToDone: 55970, ClientGap: 292, ClientGapP99: 299.8,
		ClientGapSwitch: 146, ClientGapSwitchP99: 149.9, QEMUDowntime: 73, Sync: &sync, Acknowledged: 2000, SessionKept: true,
	}
	if len(rows) != 6 {
		t.Fatalf("%d rows: want 6", len(rows))
	}
	if d := cmp.Diff(want, rows[4]); d != "" {
		t.Error(d)
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	verdicts := func(change func([]result) []result) (all []verdict) {
		for _, b := range newReport(setting{}, change(example()), nil).Bars {
			all = append(all, b.Verdict)
		}
		return all
	}
	for _, c := range []struct {
		name   string
		change func([]result) []result
		want   []verdict
	}{
		{"good", func(r []result) []result { return r }, []verdict{pass, pass, pass, pass}},
		{"nothing", func([]result) []result { return nil }, []verdict{notMeasured, notMeasured, notMeasured, notMeasured}},
		{"small only", func(r []result) []result { return r[:2] }, []verdict{notMeasured, notMeasured, pass, pass}},
		{"grows", func(r []result) []result { r[4].RequestToRunning, r[6].RequestToRunning = 2000, 2000; return r }, []verdict{fail, pass, pass, pass}},
		{"no sooner", func(r []result) []result { r[5].RequestToRunning, r[7].RequestToRunning = 5000, 5000; return r }, []verdict{pass, fail, pass, pass}},
		{"loses", func(r []result) []result { r[1].Lost = 1; return r }, []verdict{pass, pass, fail, pass}},
		{"acknowledges nothing", func(r []result) []result { r = r[:1]; r[0].Acknowledged = 0; return r }, []verdict{notMeasured, notMeasured, fail, pass}},
		{"breaks the session", func(r []result) []result { r[6].SessionKept = false; return r }, []verdict{pass, pass, pass, fail}},
	} {
		if d := cmp.Diff(c.want, verdicts(c.change)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	if !met([]bar{{Verdict: pass}, {Verdict: notMeasured}}) || met([]bar{{Verdict: pass}, {Verdict: fail}}) {
		t.Error("met is wrong: only a bar that was measured can be missed")
	}
}

func TestTableSaysWhatWasLeftOut(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := newReport(setting{}, example(), []leftOut{{trial{1, 8192, virshSync}, "no time"}})
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"8 GiB  switch-first", "51.8 s", "left out: virsh-sync-writes, 8192 MiB, run 1: no time", "pass "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestPictureIsSound(t *testing.T) {
	t.Parallel()
	for name, results := range map[string][]result{"all": example(), "one": example()[:1], "none": nil} {
		svg := picture(newReport(setting{QEMU: "<7.2>"}, results, nil))
		for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
			t.Errorf("%s: a coordinate is no number", name)
		}
	}
}

func TestScalesHoldTheirValues(t *testing.T) {
	t.Parallel()
	for _, values := range [][]float64{nil, {0.2}, {920, 52500}, {1000}, {999, 1001}, {163, 423}, {70000}} {
		for name, s := range map[string]scale{"log": logScale(values), "linear": linearScale(values)} {
			for _, v := range values {
				if p := s.part(v); p < 0 || p > 1 {
					t.Errorf("%s of %v: %v stands at %v", name, values, v, p)
				}
			}
			first, last := s.ticks[0], s.ticks[len(s.ticks)-1]
			if s.part(first) != 0 || math.Abs(s.part(last)-1) > 1e-9 {
				t.Errorf("%s of %v: ticks %v do not reach from bottom to top", name, values, s.ticks)
			}
		}
	}
}

func TestSpreadKeepsLabelsApart(t *testing.T) {
	t.Parallel()
	got := spread([]label{{point{10, 100}, "", "a"}, {point{10, 104}, "", "b"}, {point{50, 101}, "", "c"}, {point{10, 20}, "", "d"}})
	var order string
	for i, l := range got {
		order += l.text
		if i > 0 && got[i-1].x == l.x && got[i-1].y-l.y < labelHeight {
			t.Errorf("%s at %v is on %s at %v", l.text, l.y, got[i-1].text, got[i-1].y)
		}
	}
	if order != "badc" {
		t.Errorf("order %s: want badc, by column and from below", order)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-sizes", "64,128", "-modes", "pre-copy", "-runs", "3", "-budget", "10m"})
	if err != nil {
		t.Fatal(err)
	}
	want := options{out: "out", binary: "bin/droveway", sizes: []int64{64, 128}, modes: []mode{preCopy}, runs: 3, budget: 10 * time.Minute}
	if d := cmp.Diff(want, o, cmp.AllowUnexported(options{})); d != "" {
		t.Error(d)
	}
	for _, args := range [][]string{{"-sizes", "1"}, {"-sizes", "x"}, {"-modes", "teleport"}, {"-runs", "0"}, {"more"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
