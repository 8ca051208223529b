package discover

import "net/netip"

// wire is a connection as one link carries it.
type wire struct {
	protocol string
	from, to netip.AddrPort
}

// wires joins the ends of connections by what the boxes between them said of
// their translations. Addresses alone never join: the same private addresses are
// used in many places, so every step has to be the only one possible.
type wires struct {
	outs, ins *recent[wire, []*conn]
	steps     *recent[wire, []step] // by how the packet came in
	back      *recent[wire, []step] // by how it went out
}

type step struct {
	host     string
	from, to wire
}

const (
	keptWires   = 65536
	wiresOfHost = 4096 // in the time of grace
	maxSame     = 8    // ends or steps that look the same
	maxHops     = 4
)

func newWires() wires {
	return wires{
		outs: newRecent[wire, []*conn](keptWires), ins: newRecent[wire, []*conn](keptWires),
		steps: newRecent[wire, []step](keptWires), back: newRecent[wire, []step](keptWires),
	}
}

// translation takes an entry of a box's table.
func (j *Joiner) translation(h *host, t *Translation) {
	s := step{h.name, wire{t.Protocol, t.Source, t.Destination}, wire{t.Protocol, t.NewSource, t.NewDestination}}
	if s.from == s.to {
		return
	}
	known, _ := j.wires.steps.get(s.from)
	for _, k := range known {
		if k == s {
			return
		}
	}
	remember(j.wires.steps, s.from, s, j.now)
	remember(j.wires.back, s.to, s, j.now)
	j.follow(s.from)
}

func remember[V any](r *recent[wire, []V], w wire, v V, now int64) {
	all, _ := r.get(w)
	if len(all) < maxSame {
		r.put(w, append(all, v), now, nil)
	}
}

// joinWire joins an end by translations. TCP has better evidence, so it is
// tried for TCP only where a box reports at all; UDP has nothing else.
func (j *Joiner) joinWire(cn *conn, c *Connection) {
	if c.Protocol == "tcp" && len(j.wires.steps.entries) == 0 {
		return
	}
	w, side := wire{c.Protocol, c.Remote, c.Local}, j.wires.ins
	if cn.flow != nil {
		w, side = wire{c.Protocol, c.Local, c.Remote}, j.wires.outs
	}
	same, _ := side.get(w)
	for _, k := range same {
		if k == cn {
			return
		}
	}
	if cn.host().wired.spill(j.now, wiresOfHost, j.limits.Grace) {
		if cn.isn == 0 {
			cn.host().seen.Lost++ // otherwise the path is lost, no relation
		}
		return
	}
	remember(side, w, cn, j.now)
	cn.wired = true
	j.pending.hold(cn)
	j.follow(w)
}

// before is the link before a box, if that is certain.
func (j *Joiner) before(w wire) (wire, bool) {
	steps, _ := j.wires.back.get(w)
	if len(steps) != 1 {
		return w, false
	}
	return steps[0].from, true
}

// follow tries the path through a link: back to its first link, then forward
// until somebody accepts.
func (j *Joiner) follow(w wire) {
	for range maxHops {
		b, ok := j.before(w)
		if !ok {
			break
		}
		w = b
	}
	out := j.only(j.wires.outs, w)
	if out == nil {
		return
	}
	var hops []string
	for range maxHops + 1 {
		if in := j.only(j.wires.ins, w); in != nil {
			j.matchWire(out, in, hops)
			return
		}
		steps, _ := j.wires.steps.get(w)
		if len(steps) != 1 {
			return
		}
		w = steps[0].to
		hops = append(hops, steps[0].host)
	}
}

// only gives the one unmatched end at a link: two that look the same are none.
func (j *Joiner) only(side *recent[wire, []*conn], w wire) *conn {
	same, _ := side.get(w)
	if len(same) != 1 || same[0].relation != nil && same[0].evidence != ISN {
		return nil
	}
	return same[0]
}

// matchWire joins two ends. If they have joined by their sequence numbers, with
// each other, the path is what is new; with others, the addresses lie.
func (j *Joiner) matchWire(out, in *conn, hops []string) {
	if out.relation != nil || in.relation != nil {
		if out.relation == in.relation && len(hops) > 0 {
			out.relation.hops = hops
			j.saw(out.relation, Conntrack, 1, 1, j.now)
		}
		return
	}
	if len(hops) == 0 && !j.simultaneous(out, in) {
		return
	}
	j.match(out, in, Conntrack)
	out.relation.hops = hops
}

// simultaneous reports whether two ends may be of one connection by their times.
func (j *Joiner) simultaneous(out, in *conn) bool {
	if out.opened == 0 || in.opened == 0 {
		return false
	}
	ahead, width := j.clocks.ahead(out.host().index, in.host().index)
	return abs(in.opened-out.opened-int64(ahead)) <= int64(width)
}

// expire forgets links that nobody completed.
func (w *wires) expire(since int64) {
	w.outs.expire(since, nil)
	w.ins.expire(since, nil)
	w.steps.expire(since, nil)
	w.back.expire(since, nil)
}

func abs(n int64) int64 { return max(n, -n) }
