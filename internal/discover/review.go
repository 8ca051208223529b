package discover

import (
	"net/netip"
	"time"
)

// review is when to look whether the connections of a flow or a stream found
// their other ends.
type review struct {
	flow   *flow
	stream *stream
	due    int64
}

// review queues the account of a connection.
func (j *Joiner) review(cn *conn) {
	a := cn.account()
	if a.queued {
		return
	}
	a.queued = true
	j.reviews = append(j.reviews, review{cn.flow, cn.stream, j.now + int64(j.limits.Grace)})
}

// judgeReviews gives the one-sided findings that are due. A joiner that has just
// begun knows only one end of what has been open for long, until all probes have
// repeated what is open.
func (j *Joiner) judgeReviews() {
	if j.now-j.began < int64(Repeat+j.limits.Grace) {
		return
	}
	n := 0
	for n < len(j.reviews) && j.reviews[n].due <= j.now {
		j.judge(j.reviews[n])
		n++
	}
	j.reviews = append(j.reviews[:0], j.reviews[n:]...)
}

func (j *Joiner) judge(r review) {
	a := r.account()
	a.queued = false
	switch lone := a.unexplained() && !r.local(); {
	case lone:
		a.reported = true
		j.out = append(j.out, r.finding(false))
		a.fresh = 0
	default:
		j.explained(r.flow, r.stream)
	}
	if a.total > 1000 { // forgets slowly
		a.total, a.matched = a.total/2, a.matched/2
	}
}

// explained takes a one-sided finding back.
func (j *Joiner) explained(f *flow, s *stream) {
	r := review{flow: f, stream: s}
	if a := r.account(); a.reported && !a.unexplained() {
		a.reported = false
		j.out = append(j.out, r.finding(true))
	}
}

func (r review) account() *account {
	if r.flow != nil {
		return &r.flow.account
	}
	return &r.stream.account
}

// What makes us believe that an address stands for somebody without a probe
// besides the hosts we know behind it: more than what lost reports leave over.
const (
	otherConnections = 3
	otherShare       = 4 // one in so many
)

// unexplained reports whether there is somebody without a probe at the other
// end. Without sequence numbers nobody can count, so any relation explains all.
func (a *account) unexplained() bool {
	for _, r := range a.relations {
		if r.best != ISN {
			return false
		}
	}
	left := a.total - a.matched
	if len(a.relations) == 0 {
		return left > 0
	}
	return left >= otherConnections && left*otherShare >= a.total
}

// local reports whether the other end is this host itself.
func (r review) local() bool { return r.remote().IsLoopback() }

func (r review) remote() netip.Addr {
	if r.flow != nil {
		return r.flow.dialled.Addr()
	}
	return r.stream.seen
}

func (r review) finding(withdrawn bool) Finding {
	a := r.account()
	f := Finding{
		Evidence: OneSided, Withdrawn: withdrawn, Count: a.fresh,
		First: time.Unix(0, a.last).UTC(), Last: time.Unix(0, a.last).UTC(),
	}
	other := Party{External: r.remote()}
	if r.flow != nil {
		f.Client, f.Server = r.flow.party(), other
		f.Protocol, f.Port, f.Dialled, f.Source, f.ClientPID = r.flow.protocol, r.flow.dialled.Port(), r.flow.dialled, r.flow.source, r.flow.pid
		return f
	}
	f.Client, f.Server = other, r.stream.party()
	f.Protocol, f.Port, f.Seen, f.ServerPID = r.stream.protocol, r.stream.port, r.stream.seen, r.stream.pid
	return f
}
