package discover

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"
)

const sweepEvery = 10 * time.Minute

// Advance lets time pass: it looks for patterns and timing, finds out what stays
// one-sided, and forgets what is old. Call it every few seconds. The findings hold
// as long as those of Add.
func (j *Joiner) Advance(now time.Time) []Finding {
	j.now = max(j.now, now.UnixNano())
	j.clocks.solve()
	j.judgeQuiet()
	j.judgePatterns()
	j.judgeTimings()
	j.judgeReviews()
	j.expire()
	if j.now-j.swept >= int64(sweepEvery) {
		j.swept = j.now
		j.sweep()
	}
	return j.flush()
}

func (j *Joiner) expire() {
	window := j.now - int64(j.limits.Window)
	silent := j.now - 3*int64(Repeat)
	for _, h := range j.byID {
		j.forgetPending(h, window)
		h.open.expire(silent, nil)
	}
	j.members.expire(j.now-int64(24*time.Hour), nil)
	j.wires.expire(j.now - int64(j.limits.Grace))
	j.ear.drop(window, j.streams.all)
}

// sweep forgets idle flows and streams with their relations.
func (j *Joiner) sweep() {
	old := j.now - int64(max(j.limits.Idle, 2*j.limits.Window))
	for _, h := range j.byID {
		for k, f := range h.flows {
			if f.last < old {
				j.unrelate(f.relations)
				delete(h.flows, k)
				j.flows.drop(f.id)
			}
		}
		for k, s := range h.streams {
			if s.last < old {
				j.unrelate(s.relations)
				delete(h.streams, k)
				j.streams.drop(s.id)
			}
		}
	}
}

func (j *Joiner) unrelate(all []*relation) {
	for _, r := range slices.Clone(all) {
		mine := func(o *relation) bool { return o == r }
		r.flow.relations = slices.DeleteFunc(r.flow.relations, mine)
		r.stream.relations = slices.DeleteFunc(r.stream.relations, mine)
	}
}

// Offset is how far a host's clock is ahead of ours, coarsely: what an assignment
// needs to name its start by the host's clock. False: the host never reported.
func (j *Joiner) Offset(host string) (time.Duration, bool) {
	h := j.hosts[host]
	if h == nil || h.seen.Since.IsZero() {
		return 0, false
	}
	return time.Duration(-j.clocks.coarse[h.index].value), true
}

// Flow is what a service of a host dials, as far as it is explained.
type Flow struct {
	Host     string
	Service  Service
	PID      int
	Protocol string
	Dialled  netip.AddrPort
	Best     Evidence // "" if nothing explains it yet
	Last     time.Time
}

// Flows gives all flows, always in the same order: those that nothing good
// explains are what patterns are for.
func (j *Joiner) Flows() iter.Seq[Flow] {
	return func(yield func(Flow) bool) {
		for _, h := range j.byID {
			for _, k := range slices.SortedFunc(maps.Keys(h.flows), flowKey.compare) {
				if !yield(h.flows[k].public()) {
					return
				}
			}
		}
	}
}

func (f *flow) public() Flow {
	p := Flow{
		Host: f.host.name, Service: f.service, PID: f.pid, Protocol: f.protocol,
		Dialled: f.dialled, Last: time.Unix(0, f.last).UTC(),
	}
	for _, r := range f.relations {
		if p.Best == "" || r.best.Rank() < p.Best.Rank() {
			p.Best = r.best
		}
	}
	return p
}
