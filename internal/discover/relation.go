package discover

import (
	"net/netip"
	"slices"
	"time"
)

// relation joins a flow and a stream.
type relation struct {
	flow    *flow
	stream  *stream
	best    Evidence
	tallies []tally // best first
	hops    []string
	queued  bool
}

// tally is what one kind of evidence saw since the last finding.
type tally struct {
	kind        Evidence
	count       int
	score       float64
	first, last int64
	fresh       bool
}

// match joins two ends.
func (j *Joiner) match(a, b *conn, e Evidence) {
	if a.flow == nil {
		a, b = b, a
	}
	r := j.relate(a.flow, b.stream)
	a.relation, b.relation = r, r
	a.evidence, b.evidence = e, e
	a.flow.matched++
	b.stream.matched++
	at := j.now
	if a.opened != 0 {
		at = min(at, j.clocks.ours(a.host().index, a.opened))
	}
	if e == ISN && a.opened != 0 && b.opened != 0 {
		j.clocks.matched(a.host().index, b.host().index, a.opened, b.opened)
	}
	j.saw(r, e, 1, 1, at)
}

// maxRelations is how many servers and public addresses one flow may have.
const maxRelations = 256

// relate gives the relation of a flow and a stream.
func (j *Joiner) relate(f *flow, s *stream) *relation {
	for _, r := range f.relations {
		if r.stream == s {
			return r
		}
	}
	if len(f.relations) >= maxRelations {
		j.unrelate(f.relations[:1])
	}
	r := &relation{flow: f, stream: s}
	f.relations = append(f.relations, r)
	s.relations = append(s.relations, r)
	j.explained(f, nil)
	j.explained(nil, s)
	return r
}

// saw adds evidence to a relation.
func (j *Joiner) saw(r *relation, e Evidence, count int, score float64, at int64) {
	t := r.tally(e, at)
	if r.best == "" || e.Rank() < r.best.Rank() {
		r.best = e
	}
	t.count += count
	t.score = max(t.score, score)
	t.first, t.last = min(t.first, at), max(t.last, at)
	t.fresh = true
	if !r.queued {
		r.queued = true
		j.changed = append(j.changed, r)
	}
}

// tally gives that of a kind of evidence, a new one that begins at a time if need
// be.
func (r *relation) tally(e Evidence, at int64) *tally {
	i := 0
	for i < len(r.tallies) && r.tallies[i].kind.Rank() < e.Rank() {
		i++
	}
	if i == len(r.tallies) || r.tallies[i].kind != e {
		r.tallies = slices.Insert(r.tallies, i, tally{kind: e, first: at})
	}
	return &r.tallies[i]
}

// alive keeps alive what only patterns and timing showed: no connection of it can
// be told, but its client still talks to the same destination.
func (j *Joiner) alive(cn *conn) {
	if cn.flow == nil || cn.relation != nil {
		return
	}
	for _, r := range cn.flow.relations {
		if r.best == Pattern || r.best == Timing {
			j.saw(r, r.best, 0, 0, j.now)
		}
	}
}

// touch keeps the relation of an open connection alive.
func (j *Joiner) touch(cn *conn, c *Connection) {
	at := j.now
	if !c.Closed.IsZero() {
		at = min(at, j.clocks.ours(cn.host().index, c.Closed.UnixNano()))
	}
	j.saw(cn.relation, cn.evidence, 0, 0, at)
}

// keptFindings is for how many findings memory is kept: half a MiB.
const keptFindings = 1024

// flush turns what changed into findings, whose memory the next ones use again.
func (j *Joiner) flush() []Finding {
	j.out = slices.Grow(j.out, len(j.changed))
	for _, r := range j.changed {
		r.queued = false
		for i := range r.tallies {
			if t := &r.tallies[i]; t.fresh {
				j.out = append(j.out, r.finding(t))
				t.count, t.fresh = 0, false
			}
		}
	}
	out := j.out
	j.changed, j.out = j.changed[:0], nil
	if cap(out) <= keptFindings {
		j.out = out[:0]
	}
	return out
}

func (r *relation) finding(t *tally) Finding {
	f, s := r.flow, r.stream
	return Finding{
		Evidence: t.kind, Protocol: f.protocol, Port: s.port,
		Client: f.party(), Server: s.party(),
		Dialled: f.dialled, Served: netip.AddrPortFrom(s.served, s.port), Source: f.source, Seen: s.seen, Hops: r.hops,
		ClientPID: f.pid, ServerPID: s.pid,
		First: time.Unix(0, t.first).UTC(), Last: time.Unix(0, t.last).UTC(),
		Count: t.count, Score: t.score,
	}
}
