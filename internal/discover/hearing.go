package discover

import (
	"net/netip"
	"time"

	"github.com/droveway/droveway/internal/discover/pattern"
)

// hearing is that a stream heard a pattern of a flow, or the part of it that a
// balancer sent its way.
//
// Among many servers, two or three connections of a pattern are found somewhere
// by chance. Therefore a hearing is no relation before a second round, a pattern
// of another number, is heard by the same server:
//
//	         same flow, same server
//	heard ─────────────────────────────▶ confirmed: a relation
//	  │                                       ▲
//	  └──its flow is confirmed with a server──┘
//	     of the pool, and this server with
//	     another flow to the same destination
type hearing struct {
	flow      *flow
	stream    *stream
	votes     int // connections that it heard
	score     float64
	at        int64
	confirmed bool
}

// member is a server that is behind a destination, or may be.
type member struct {
	confirmed bool
	waiting   []*hearing // for that, oldest first
}

type memberKey struct {
	dialled netip.AddrPort
	served  Served
}

const (
	// clockVotes is how many connections one stream has to hear before they say
	// anything about its clock.
	clockVotes = 3
	// keptHearings is how many of a flow and of a member are kept, and hearingTime
	// for how long: the queue of an endpoint that many dial takes hours.
	keptHearings = 64
	hearingTime  = 12 * time.Hour
	keptMembers  = 65536
)

func (s *stream) address() Served { return Served{s.host.name, s.port} }

// heardPattern takes a round that was heard for certain.
func (j *Joiner) heardPattern(p *emitted, m pattern.Match, l *lead) Outcome {
	o := Outcome{Pattern: p.id, Matched: true}
	var round []*hearing
	for _, v := range m.Members {
		s := j.streams.all[v.Member]
		o.Servers = append(o.Servers, s.address())
		if v.Count >= clockVotes {
			l.learn(s.host.index, int64(m.Offset))
		}
		round = append(round, &hearing{flow: p.flow, stream: s, votes: v.Count, score: float64(m.Count) / pattern.Length, at: j.now})
	}
	before := p.flow.hearings
	for _, h := range round {
		p.flow.hearings = j.keep(p.flow.hearings, h)
		if m := j.member(h); !m.confirmed {
			m.waiting = j.keep(m.waiting, h)
		}
	}
	j.agree(before, round)
	return o
}

// keep adds a hearing, in place of those that are too old or too many.
func (j *Joiner) keep(all []*hearing, h *hearing) []*hearing {
	kept := make([]*hearing, 0, len(all)+1)
	for _, k := range all[max(0, len(all)-keptHearings+1):] {
		if j.recent(k) {
			kept = append(kept, k)
		}
	}
	return append(kept, h)
}

func (j *Joiner) member(h *hearing) *member {
	k := memberKey{h.flow.dialled, h.stream.address()}
	m, known := j.members.get(k)
	if !known {
		m = &member{}
	}
	j.members.put(k, m, j.now, nil)
	return m
}

// agree makes relations of what the last round of a flow and those before it
// agree about, and of what that says of others.
func (j *Joiner) agree(before, round []*hearing) {
	for _, h := range round {
		for _, b := range before {
			if j.recent(b) && b.stream.address() == h.stream.address() {
				j.confirm(b)
				j.confirm(h)
				j.agreed(j.member(h))
			}
		}
	}
	if len(round) == 0 || !round[0].flow.confirmed {
		return
	}
	for _, h := range round[0].flow.hearings {
		if j.member(h).confirmed {
			j.confirm(h)
		}
	}
}

// agreed confirms a member of a pool, for all flows that are sure to use the pool.
func (j *Joiner) agreed(m *member) {
	m.confirmed = true
	for _, h := range m.waiting {
		if h.flow.confirmed {
			j.confirm(h)
		}
	}
	m.waiting = nil
}

// recent reports whether a hearing still counts.
func (j *Joiner) recent(h *hearing) bool { return j.now-h.at <= int64(hearingTime) }

// confirm makes a relation of a hearing, as of when it was heard: what confirms it may
// come hours later, when its client has long stopped talking to the destination, or
// both were forgotten.
func (j *Joiner) confirm(h *hearing) {
	if h.confirmed || !j.recent(h) || !h.known() {
		return
	}
	h.confirmed, h.flow.confirmed = true, true
	h.stream.matched += h.votes
	j.saw(j.relate(h.flow, h.stream), Pattern, 1, h.score, h.at)
}

// known reports whether flow and stream were not forgotten meanwhile.
func (h *hearing) known() bool {
	f, s := h.flow, h.stream
	return f.host.flows[f.flowKey] == f && s.host.streams[s.streamKey] == s
}
