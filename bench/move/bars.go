package main

import (
	"fmt"
	"slices"
)

// The bars.
const (
	maxGapRatio          = 1.0 // of the client's gap around the switch, to that of virsh migrate in the same run
	maxGrowth            = 1.2 // of a time, from the smallest disk to the greatest
	minSooner            = 20  // than virsh migrate --copy-storage-all, with the greatest disk
	minShorterAway       = 2   // than stop, copy, start, with the greatest disk
	bigMiB         int64 = 8192
	smallMiB       int64 = 64
)

// bar is something that must be reached.
type bar struct {
	Name    string `json:"name"`
	Want    string `json:"want"`
	Got     string `json:"got"`
	Reached *bool  `json:"reached"` // null: not measured
}

func (b bar) measured(ok bool, format string, args ...any) bar {
	b.Got, b.Reached = fmt.Sprintf(format, args...), &ok
	return b
}

func judge(r report) (bars []bar) {
	for _, size := range sizesOf(r.Rows) {
		bars = append(bars, gap(r, size))
	}
	running := func(k row) figure { return k.RequestToRunning }
	away := func(k row) figure { return k.Downtime }
	return append(bars,
		growth(r, switchFirst, "request to running does not depend on the disk", running),
		advantage(r, switchFirst, virshCopy, "sooner on the new host", minSooner, running),
		growth(r, quickRestart, "a restart's downtime does not depend on the disk", away),
		advantage(r, quickRestart, copyRestart, "a restart's downtime is shorter", minShorterAway, away),
		losses(r), sessions(r))
}

// missed tells whether a bar was measured and not reached.
func missed(bars []bar) bool {
	return slices.ContainsFunc(bars, func(b bar) bool { return b.Reached != nil && !*b.Reached })
}

// gap compares run by run: what disturbed one mode of a run disturbed the next.
func gap(r report, size int64) bar {
	b := bar{
		Name: "client's gap around the switch, " + sizeText(size),
		Want: fmt.Sprintf("at most %.1f × that of %s", maxGapRatio, virshCopy),
	}
	var ratios []figure
	for _, ours := range alike(r.Results, size, switchFirst) {
		for _, theirs := range alike(r.Results, size, virshCopy) {
			if theirs.Run == ours.Run {
				ratios = append(ratios, ours.SwitchGap/theirs.SwitchGap)
			}
		}
	}
	if len(ratios) == 0 {
		return b
	}
	ratio := median(ratios)
	return b.measured(ratio <= maxGapRatio, "%.2f ×, the median of %d", ratio, len(ratios))
}

func growth(r report, m mode, name string, of func(row) figure) bar {
	b := bar{Name: name, Want: fmt.Sprintf("%s: %s at most %.1f × %s", m, sizeText(bigMiB), maxGrowth, sizeText(smallMiB))}
	big, okBig := r.row(bigMiB, m)
	small, okSmall := r.row(smallMiB, m)
	if !okBig || !okSmall {
		return b
	}
	factor := of(big) / of(small)
	return b.measured(factor <= maxGrowth, "%.2f ×: %s and %s", factor, msText(of(big)), msText(of(small)))
}

func advantage(r report, m, over mode, name string, atLeast figure, of func(row) figure) bar {
	b := bar{Name: name, Want: fmt.Sprintf("%s with %s: at least %.0f × over %s", m, sizeText(bigMiB), atLeast, over)}
	ours, ok := r.row(bigMiB, m)
	theirs, okTheirs := r.row(bigMiB, over)
	if !ok || !okTheirs {
		return b
	}
	factor := of(theirs) / of(ours)
	return b.measured(factor >= atLeast, "%.1f ×: %s and %s", factor, msText(of(ours)), msText(of(theirs)))
}

func losses(r report) bar {
	b := bar{Name: "no acknowledged record is lost", Want: "0 in every mode"}
	var sum proof
	for _, k := range r.Rows {
		sum.Lost, sum.Wrong, sum.Acknowledged = sum.Lost+k.Lost, sum.Wrong+k.Wrong, sum.Acknowledged+k.Acknowledged
	}
	if len(r.Rows) == 0 {
		return b
	}
	return b.measured(sum.Lost == 0 && sum.Wrong == 0 && sum.Acknowledged > 0, "%d of %d lost, %d read back wrong", sum.Lost, sum.Acknowledged, sum.Wrong)
}

func sessions(r report) bar {
	b := bar{Name: "the client's TCP session survives", Want: "in every move of " + string(switchFirst)}
	var kept, all int
	for _, k := range r.Results {
		if k.Mode != switchFirst {
			continue
		}
		all++
		if k.SessionKept {
			kept++
		}
	}
	if all == 0 {
		return b
	}
	return b.measured(kept == all, "%d of %d", kept, all)
}
