package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/bench/canvas/canvastest"
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
	if !math.IsNaN(quantile[float64](nil, 0.5)) {
		t.Error("no values have a median")
	}
}

func TestMedianLeavesOutWhatIsNotThere(t *testing.T) {
	t.Parallel()
	if got := median([]figure{none(), 3, 1}); got != 2 {
		t.Errorf("%v: want 2", got)
	}
	if median([]figure{none()}).known() || median(nil).known() {
		t.Error("nothing has a median")
	}
	text, err := json.Marshal([]figure{1.5, none()})
	if err != nil || string(text) != "[1.5,null]" {
		t.Errorf("%s, %v: want [1.5,null]", text, err)
	}
}

func TestScheduleLetsNoModeAlwaysBegin(t *testing.T) {
	t.Parallel()
	got := schedule(2, []int64{1024, 64, 128}, []mode{switchFirst, preCopy, quickRestart})
	want := []trial{
		{1, 64, switchFirst},
		{1, 64, preCopy},
		{1, 64, quickRestart},
		{1, 128, switchFirst},
		{1, 128, preCopy}, // restarts: only the smallest and the greatest
		{1, 1024, switchFirst},
		{1, 1024, preCopy},
		{1, 1024, quickRestart},
		{2, 64, preCopy},
		{2, 64, quickRestart},
		{2, 64, switchFirst},
		{2, 128, preCopy},
		{2, 128, switchFirst},
		{2, 1024, preCopy},
		{2, 1024, quickRestart},
		{2, 1024, switchFirst},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBudgetKnowsWhatItHasSeen(t *testing.T) {
	t.Parallel()
	b := budget{limit: 10 * time.Minute}
	big, small := trial{1, 8192, preCopy}, trial{1, 64, preCopy}
	if why := b.refuse(big, 0); why != "" {
		t.Errorf("refused with all the time left: %s", why)
	}
	if why := b.refuse(big, 9*time.Minute); !strings.Contains(why, "1m0s are left") {
		t.Errorf("with a minute left: %q", why)
	}
	b.learn(big, 20*time.Second)
	b.learn(small, 5*time.Second)
	big.Run = 2
	if why := b.refuse(big, 9*time.Minute); why != "" {
		t.Errorf("refused what was seen to take 20 s: %s", why)
	}
	if why := (&budget{}).refuse(big, time.Hour); why != "" {
		t.Errorf("refused without a limit: %s", why)
	}
	if got := b.remaining([]trial{big, small, small}); got != 30*time.Second {
		t.Errorf("%s remain: want 30s", got)
	}
}

func TestPulse(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var p pulse
	if _, _, ok := p.boot(1); ok || p.rate(at(0), at(1000)) != 0 {
		t.Error("what never beat has booted, or written")
	}
	for _, b := range []beat{{at(0), 100, 1, 1}, {at(500), 150, 1, 1}, {at(1000), 200, 1, 1}, {at(7000), 201, 2, 2}, {at(7100), 220, 2, 2}} {
		p.note(b)
	}
	for _, c := range []struct {
		from, to int
		want     figure
	}{{0, 1000, 100}, {500, 999, 0}, {1000, 7100, 3.28}, {2000, 6000, 0}, {7100, 9100, 0}} {
		if got := p.rate(at(c.from), at(c.to)); got != c.want {
			t.Errorf("from %d to %d ms: %v records a second: want %v", c.from, c.to, got, c.want)
		}
	}
	if p.rate(at(5), at(5)).known() {
		t.Error("no time has a rate")
	}
	away, back, ok := p.boot(2)
	if !ok || !away.Equal(at(1000)) || !back.Equal(at(7000)) {
		t.Errorf("away from %v to %v, %v: want 1 s to 7 s", away, back, ok)
	}
	if _, _, ok := p.boot(3); ok {
		t.Error("a third boot was seen")
	}
}

// example has figures like those that a first trial of the method gave.
func example() (all []result) {
	add := func(run int, size int64, m mode, running, gap, sync figure) {
		f := figures{
			RequestToRunning: running, RequestToDone: running + 1000*sync, ClientGap: gap, SwitchGap: gap / 2, WaitP50: 10, WaitP99: 30,
			Downtime: none(), QEMUDowntime: gap / 4, Sync: sync, SyncRate: (figure(size) / sync).rounded(), WritesBefore: 150, WritesDuring: 90,
		}
		if m.restarts() {
			f.Downtime, f.QEMUDowntime = running, none()
		}
		all = append(all, result{trial{run, size, m}, true, f, proof{Acknowledged: 1000, SessionKept: !m.restarts()}})
	}
	add(1, 64, switchFirst, 920, 150, 0.3)
	add(1, 64, virshCopy, 1710, 163, 0.4)
	add(1, 1024, switchFirst, 1050, 500, 9)
	add(1, 8192, switchFirst, 940, 284, 54)
	add(1, 8192, virshCopy, 52500, 300, none())
	add(2, 8192, switchFirst, 1000, 300, 56)
	add(2, 8192, virshCopy, 51000, 320, none())
	add(1, 64, quickRestart, 6000, 6000, 0.3)
	add(1, 8192, quickRestart, 6300, 6300, 55)
	add(1, 8192, copyRestart, 50000, 50000, 40)
	return all
}

func TestSummaryIsMediansAndSums(t *testing.T) {
	t.Parallel()
	rows := summarize(example())
	want := row{
		DiskMiB: 8192, Filled: true, Mode: switchFirst, Runs: 2,
		figures: figures{
			RequestToRunning: 970, RequestToDone: 55970, ClientGap: 292, SwitchGap: 146, WaitP50: 10, WaitP99: 30, Downtime: none(),
			QEMUDowntime: 73, Sync: 55, SyncRate: 149, WritesBefore: 150, WritesDuring: 90,
		},
		ClientGapP50: 292, ClientGapP99: 299.84, SwitchGapP50: 146, SwitchGapP99: 149.92,
		proof: proof{Acknowledged: 2000, SessionKept: true},
	}
	if len(rows) != 8 {
		t.Fatalf("%d rows: want 8", len(rows))
	}
	if d := cmp.Diff(want, rows[3], cmp.AllowUnexported(row{}), cmp.Comparer(func(a, b figure) bool { return a == b || !a.known() && !b.known() })); d != "" {
		t.Error(d)
	}
}

// SYSTEMS 6.1, 12: what the benchmark calls reached.
func TestBars(t *testing.T) {
	t.Parallel()
	const good = "yes,not measured,yes,yes,yes,yes,yes,yes,yes"
	for _, c := range []struct {
		name   string
		change func([]result) []result
		want   string
	}{
		{"good", func(r []result) []result { return r }, good},
		{"nothing", func([]result) []result { return nil }, strings.Repeat("not measured,", 5) + "not measured"},
		{"small only", func(r []result) []result { return r[:2] }, "yes" + strings.Repeat(",not measured", 4) + ",yes,yes"},
		{"client waits", func(r []result) []result { r[0].SwitchGap = 82; return r }, strings.Replace(good, "yes", "NO", 1)},
		{"client waits in one run of two", func(r []result) []result { r[5].SwitchGap = 200; return r }, "yes,not measured,NO,yes,yes,yes,yes,yes,yes"},
		{"grows", func(r []result) []result { r[3].RequestToRunning = 1900; return r }, "yes,not measured,yes,NO,yes,yes,yes,yes,yes"},
		{"no sooner", func(r []result) []result { r[4].RequestToRunning = 5000; r[6].RequestToRunning = 5000; return r }, "yes,not measured,yes,yes,NO,yes,yes,yes,yes"},
		{"restart grows", func(r []result) []result { r[8].Downtime = 9000; return r }, "yes,not measured,yes,yes,yes,NO,yes,yes,yes"},
		{"restart no shorter", func(r []result) []result { r[9].Downtime = 12000; return r }, "yes,not measured,yes,yes,yes,yes,NO,yes,yes"},
		{"loses", func(r []result) []result { r[1].Lost = 1; return r }, "yes,not measured,yes,yes,yes,yes,yes,NO,yes"},
		{"reads wrong", func(r []result) []result { r[1].Wrong = 1; return r }, "yes,not measured,yes,yes,yes,yes,yes,NO,yes"},
		{"acknowledges nothing", func(r []result) []result { r = r[:1]; r[0].Acknowledged = 0; return r }, "not measured,not measured,not measured,not measured,not measured,NO,yes"},
		{"breaks the session", func(r []result) []result { r[3].SessionKept = false; return r }, "yes,not measured,yes,yes,yes,yes,yes,yes,NO"},
	} {
		var words []string
		bars := newReport(setting{}, c.change(example()), nil).Bars
		for _, b := range bars {
			words = append(words, b.word())
		}
		got := strings.Join(words, ",")
		if got != c.want {
			t.Errorf("%s: %s: want %s", c.name, got, c.want)
		}
		if missed(bars) != strings.Contains(c.want, "NO") {
			t.Errorf("%s: missed is %v", c.name, missed(bars))
		}
	}
}

func TestTableSaysWhatWasLeftOut(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := newReport(setting{}, example(), []leftOut{{trial{1, 8192, virshSync}, "no time"}})
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"switch-first     2              970 ms", "51.8 s", "left out: virsh-sync-writes, 8 GiB, run 1: no time", "yes ", "53.4 ×: 970 ms and 51.8 s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

// The names of the figures are read by others.
func TestReportIsOneObjectARow(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(newReport(setting{}, example(), nil))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Rows, Runs []map[string]any }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	names := []string{
		"disk_mib", "filled", "mode", "request_to_running_ms", "client_gap_ms", "switch_gap_ms", "qemu_downtime_ms", "downtime_ms",
		"sync_s", "sync_mib_per_s", "writes_per_s_before", "writes_per_s_during", "lost",
	}
	for _, name := range append(names, "runs", "client_gap_p50_ms", "client_gap_p99_ms") {
		if _, ok := got.Rows[0][name]; !ok {
			t.Errorf("a row has no %s: %v", name, got.Rows[0])
		}
	}
	for _, name := range append(names, "run") {
		if _, ok := got.Runs[0][name]; !ok {
			t.Errorf("a run has no %s: %v", name, got.Runs[0])
		}
	}
}

func TestPictureIsSound(t *testing.T) {
	t.Parallel()
	for name, results := range map[string][]result{"all": example(), "one": example()[:1], "restart": example()[7:8], "none": nil} {
		canvastest.Sound(t, name, picture(newReport(setting{QEMU: "<7.2>"}, results, nil)))
	}
}

func TestPictureSaysWhatCameOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		results []result
		want    string
	}{
		"all":       {example(), "8 GiB disk: the machine runs on its new host 53 × sooner with Droveway than with virsh migrate; Restarted on another host it is away for 6.30 s instead of 50.0 s. No acknowledged write was lost."},
		"one alone": {example()[:1], "Moving a running machine"},
	} {
		first, second := finding(newReport(setting{}, c.results, nil))
		if got := first + "; " + second; !strings.Contains(got, c.want) {
			t.Errorf("%s: %q: want %q", name, got, c.want)
		}
	}
	lossy := example()
	lossy[0].Lost = 3
	if _, second := finding(newReport(setting{}, lossy, nil)); !strings.Contains(second, "3 of 10000 acknowledged writes were lost") {
		t.Errorf("a loss is hidden: %q", second)
	}
}

func TestScalesHoldTheirValues(t *testing.T) {
	t.Parallel()
	for _, values := range [][]figure{nil, {0.2}, {920, 52500}, {1000}, {999, 1001}, {163, 423}, {70000}, {1, 1e6}} {
		for name, s := range map[string]scale{"log": logScale(values), "linear": linearScale(values)} {
			for _, v := range values {
				if p := s.part(v); p < 0 || p > 1 {
					t.Errorf("%s of %v: %v stands at %v", name, values, v, p)
				}
			}
			first, last := s.ticks[0], s.ticks[len(s.ticks)-1]
			if s.part(first) != 0 || math.Abs(s.part(last)-1) > 1e-9 || len(s.ticks) > 9 {
				t.Errorf("%s of %v: ticks %v do not reach from bottom to top, or are too many", name, values, s.ticks)
			}
		}
	}
}

func TestSpreadKeepsLabelsApart(t *testing.T) {
	t.Parallel()
	got := spread([]label{{100, look{}, "a"}, {104, look{}, "b"}, {20, look{}, "c"}})
	var order string
	for i, l := range got {
		order += l.value
		if i > 0 && got[i-1].y-l.y < labelHeight {
			t.Errorf("%s at %v is on %s at %v", l.value, l.y, got[i-1].value, got[i-1].y)
		}
	}
	if order != "bac" {
		t.Errorf("order %s: want bac, from below", order)
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
