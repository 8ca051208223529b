package discover

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"
)

// timingDue is when to look at the samples of a flow.
type timingDue struct {
	flow *flow
	due  int64
}

const (
	maxSamples = 40
	// falseTimings is how many false relations are to be expected of all
	// comparisons that were made together.
	falseTimings = 1e-3
	minTimings   = 4
	timingWidth  = 8 * time.Millisecond
	// commonHold is which share of connections lasts about as long as any other.
	commonHold = 0.08
)

// sample keeps a connection of a flow without any match, and has the flow looked
// at when there are twice as many as the last time.
func (j *Joiner) sample(f *flow, s span) {
	if len(f.relations) > 0 || len(f.timing) >= maxSamples {
		return
	}
	f.timing = append(f.timing, s)
	switch len(f.timing) {
	case 5, 10, 20, maxSamples:
		j.timings = append(j.timings, timingDue{f, j.now + int64(settle)})
	}
}

func (j *Joiner) judgeTimings() {
	n := 0
	for n < len(j.timings) && j.timings[n].due <= j.now {
		j.judgeTiming(j.timings[n].flow)
		n++
	}
	j.timings = append(j.timings[:0], j.timings[n:]...)
}

// judgeTiming looks for streams in which the connections of a flow are found
// again, all with the same offset.
func (j *Joiner) judgeTiming(f *flow) {
	if len(f.relations) > 0 || regular(f.timing) {
		f.timing = nil
		return
	}
	l := j.lead(f.host.index)
	echoes := j.echoes(f, l)
	for from := 0; from < len(echoes); {
		to := from
		for to < len(echoes) && echoes[to].stream == echoes[from].stream {
			to++
		}
		j.judgeEchoes(f, echoes[from:to], l)
		from = to
	}
	if len(f.timing) >= maxSamples || len(f.relations) > 0 {
		f.timing = nil // begin again
	}
}

// echoes gives the sounds that could be samples of a flow, sorted by stream, of the
// streams that have enough of them.
func (j *Joiner) echoes(f *flow, l *lead) []echo {
	for i, s := range f.timing {
		j.echo(l, i, s, int64(4*time.Millisecond)+s.hold/100)
	}
	all := j.frequent(l.echoes)
	slices.SortFunc(all, func(a, b echo) int {
		return cmp.Or(cmp.Compare(a.stream, b.stream), cmp.Compare(a.offset, b.offset))
	})
	return all
}

// frequent leaves out streams with fewer echoes than a match needs: nearly all.
func (j *Joiner) frequent(all []echo) []echo {
	for i := range all {
		j.counts[all[i].stream]++
	}
	kept := 0
	for i := range all {
		if j.counts[all[i].stream] >= minTimings {
			all[kept], all[i] = all[i], all[kept]
			kept++
		}
	}
	for i := range all {
		j.counts[all[i].stream] = 0
	}
	return all[:kept]
}

// judgeEchoes accepts a stream if so many echoes with one offset are no chance.
func (j *Joiner) judgeEchoes(f *flow, echoes []echo, l *lead) {
	n, offset := agreeing(echoes)
	if n < minTimings {
		return
	}
	s := j.streams.all[echoes[0].stream]
	windows := max(1, 2*float64(echoes[0].width)/float64(timingWidth))
	rate := float64(s.heard) / j.limits.Window.Seconds()
	chance := max(
		float64(len(f.timing))*rate*2*timingWidth.Seconds()*commonHold,
		float64(len(echoes)-n)/windows,
	)
	tests := windows * float64(len(j.streams.all)) * float64(len(j.streams.all))
	if poissonTail(chance, n)*tests > falseTimings {
		return
	}
	s.matched += n
	l.learn(s.host.index, offset)
	j.saw(j.relate(f, s), Timing, n, float64(n)/float64(len(f.timing)), j.now)
}

// agreeing gives the most samples that are found at one offset.
func agreeing(echoes []echo) (best int, offset int64) {
	from := 0
	for to := range echoes {
		for echoes[to].offset-echoes[from].offset > int64(timingWidth) {
			from++
		}
		if to-from+1 <= best {
			continue
		}
		var seen uint64
		for _, e := range echoes[from : to+1] {
			seen |= 1 << e.sample
		}
		if n := bits.OnesCount64(seen); n > best {
			best, offset = n, (echoes[from].offset+echoes[to].offset)/2
		}
	}
	return best, offset
}

// poissonTail is at least the probability of n or more of mu expected.
func poissonTail(mu float64, n int) float64 {
	if float64(n) <= mu {
		return 1
	}
	lg, _ := math.Lgamma(float64(n) + 1)
	first := math.Exp(float64(n)*math.Log(mu) - mu - lg)
	return first / (1 - mu/float64(n+1))
}

// regular reports whether connections come at a fixed interval: two such clocks
// agree by chance as often as they like.
func regular(s []span) bool {
	if len(s) < 3 {
		return false
	}
	gaps := make([]int64, 0, len(s))
	for i := 1; i < len(s); i++ {
		gaps = append(gaps, s[i].opened-s[i-1].opened)
	}
	slices.Sort(gaps)
	middle, near := gaps[len(gaps)/2], 0
	for _, g := range gaps {
		if abs(g-middle) <= int64(50*time.Millisecond) {
			near++
		}
	}
	return near*2 > len(gaps)
}
