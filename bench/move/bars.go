package main

import "fmt"

// The bars.
const (
	bigMiB, smallMiB = 8192, 64
	maxGrowth        = 1.3 // of the time to running, from the small disk to the big one
	minAdvantage     = 10  // over pre-copy with the big disk
)

// verdict is how a bar was met.
type verdict string

const (
	pass        verdict = "pass"
	fail        verdict = "FAIL"
	notMeasured verdict = "not measured"
)

// bar is something that must be reached.
type bar struct {
	Name    string  `json:"name"`
	Want    string  `json:"want"`
	Got     string  `json:"got"`
	Verdict verdict `json:"verdict"`
}

func judge(r report) []bar {
	return []bar{growth(r), advantage(r), losses(r), sessions(r)}
}

func met(bars []bar) bool {
	for _, b := range bars {
		if b.Verdict == fail {
			return false
		}
	}
	return true
}

func verdictOf(ok bool) verdict {
	if ok {
		return pass
	}
	return fail
}

func growth(r report) bar {
	b := bar{
		Name: "request to running does not depend on the disk", Verdict: notMeasured,
		Want: fmt.Sprintf("switch-first: %d MiB at most %.1f × %d MiB", bigMiB, maxGrowth, smallMiB),
	}
	big, okBig := r.row(bigMiB, switchFirst)
	small, okSmall := r.row(smallMiB, switchFirst)
	if okBig && okSmall {
		factor := big.RequestToRunning / small.RequestToRunning
		b.Got = fmt.Sprintf("%.0f ms, %.2f × %.0f ms", big.RequestToRunning, factor, small.RequestToRunning)
		b.Verdict = verdictOf(factor <= maxGrowth)
	}
	return b
}

func advantage(r report) bar {
	b := bar{
		Name: "sooner than pre-copy", Verdict: notMeasured,
		Want: fmt.Sprintf("switch-first with %d MiB at least %d × sooner", bigMiB, minAdvantage),
	}
	ours, ok := r.row(bigMiB, switchFirst)
	theirs, okTheirs := r.row(bigMiB, preCopy)
	if ok && okTheirs {
		factor := theirs.RequestToRunning / ours.RequestToRunning
		b.Got = fmt.Sprintf("%.0f ms, %.1f × sooner than %.0f ms", ours.RequestToRunning, factor, theirs.RequestToRunning)
		b.Verdict = verdictOf(factor >= minAdvantage)
	}
	return b
}

func losses(r report) bar {
	b := bar{Name: "no acknowledged record is lost", Want: "0 in every mode", Verdict: notMeasured}
	var lost, wrong, acknowledged uint64
	for _, k := range r.Rows {
		lost, wrong, acknowledged = lost+k.Lost, wrong+k.Wrong, acknowledged+k.Acknowledged
	}
	if len(r.Rows) > 0 {
		b.Got = fmt.Sprintf("%d of %d lost, %d read back wrong", lost, acknowledged, wrong)
		b.Verdict = verdictOf(lost == 0 && wrong == 0 && acknowledged > 0)
	}
	return b
}

func sessions(r report) bar {
	b := bar{Name: "the client's TCP session survives", Want: "in every move of switch-first", Verdict: notMeasured}
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
	if all > 0 {
		b.Got = fmt.Sprintf("%d of %d", kept, all)
		b.Verdict = verdictOf(kept == all)
	}
	return b
}
