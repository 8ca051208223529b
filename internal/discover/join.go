package discover

import (
	"time"
)

// Joiner joins what the two ends of connections reported. It is not safe for
// concurrent use.
//
// A flow is what a service of a host dials, a stream is what reaches a port of a
// host from one address; a relation is a flow and a stream that evidence joins.
// One flow may reach several streams (a load balancer spreads it, a public
// address changes) and one stream carry several flows (hosts behind one
// translator).
type Joiner struct {
	limits Limits
	now    int64 // unix nanoseconds, the greatest seen
	began  int64

	hosts  map[string]*host
	byID   []*host
	clocks *clocks

	pending  pending
	wires    wires
	flows    roll[flow]
	streams  roll[stream]
	servers  []uint32 // index of the host, by stream
	counts   []uint32 // by stream; zero between uses
	quiet    []quiet  // oldest first
	ear      ear
	leads    lead
	patterns map[string]*emitted
	members  *recent[memberKey, *member]
	timings  []timingDue

	reviews  []review
	changed  []*relation
	out      []Finding
	outcomes []Outcome
	swept    int64
}

type connKey struct {
	life *life
	id   string
}

// New makes a joiner that knows nothing.
func New(l Limits) *Joiner {
	return &Joiner{
		limits:   l.filled(),
		hosts:    map[string]*host{},
		clocks:   newClocks(),
		pending:  newPending(),
		wires:    newWires(),
		ear:      ear{slabs: map[int64]*slab{}},
		patterns: map[string]*emitted{},
		members:  newRecent[memberKey, *member](keptMembers),
	}
}

// Add takes a report that Decode read and that arrived now, and gives what it
// showed. A repeated report shows nothing. The findings of a joiner hold until its
// next call of Add or Advance.
func (j *Joiner) Add(r Report, now time.Time) []Finding {
	j.now = max(j.now, now.UnixNano())
	j.began = or(j.began, j.now)
	h := j.host(r.Host)
	l := h.life(r.Probe)
	if !l.take(r.Seq) {
		return nil
	}
	j.cover(h, r, now)
	h.learn(r)
	for i := range r.Translations {
		j.translation(h, &r.Translations[i])
	}
	for i := range r.Connections {
		j.connection(h, l, &r.Connections[i])
	}
	for i := range r.Emitted {
		j.emission(h, &r.Emitted[i])
	}
	return j.flush()
}

func (j *Joiner) host(name string) *host {
	if h := j.hosts[name]; h != nil {
		return h
	}
	h := &host{
		name:      name,
		index:     uint32(len(j.byID)),
		processes: map[int]Service{},
		bare:      map[Service]Service{},
		listeners: map[listenerKey]int{},
		open:      newRecent[connKey, *conn](j.limits.Open),
		flows:     map[flowKey]*flow{},
		streams:   map[streamKey]*stream{},
	}
	j.hosts[name] = h
	j.byID = append(j.byID, h)
	j.clocks.grow()
	return h
}

func (j *Joiner) cover(h *host, r Report, now time.Time) {
	if h.seen.Since.IsZero() {
		h.seen.Since = now
	}
	h.seen.Host, h.seen.Last, h.seen.Source = r.Host, now, r.Source
	h.seen.Lost += r.Lost
	h.seen.DiskBytes = or(r.DiskBytes, h.seen.DiskBytes)
	j.clocks.arrived(h.index, r.Time.UnixNano(), now.UnixNano())
}

// Coverage says how well a host was watched, and whether it ever reported.
func (j *Joiner) Coverage(name string) (Coverage, bool) {
	h := j.hosts[name]
	if h == nil || h.seen.Since.IsZero() {
		return Coverage{Host: name}, false
	}
	c := h.seen
	c.Missing = 0
	for _, l := range h.lives {
		c.Missing += l.missing()
	}
	return c, true
}

// connection takes one end of a connection, or more about one.
func (j *Joiner) connection(h *host, l *life, c *Connection) {
	k := connKey{l, c.ID}
	cn, known := h.open.get(k)
	if !known {
		if cn = j.begin(h, c); cn == nil {
			h.seen.Lost++
			return
		}
	}
	if !c.Opened.IsZero() {
		cn.opened = c.Opened.UnixNano()
	}
	cn.account().last = j.now
	if cn.relation == nil {
		j.join(cn, c)
		j.review(cn)
		j.alive(cn)
	} else {
		j.touch(cn, c)
	}
	if c.Closed.IsZero() {
		h.open.put(k, cn, j.now, nil)
		j.pending.hold(cn)
		return
	}
	if known {
		h.open.remove(k)
		j.pending.letGo(cn)
	}
	if cn.relation == nil {
		j.unmatched(cn, c)
	}
}

// begin opens an account for one end of a connection; nil if the host has too
// many accounts.
func (j *Joiner) begin(h *host, c *Connection) *conn {
	cn := &conn{}
	if c.Direction == Outbound {
		cn.flow = j.flow(h, c.Protocol, c.PID, c.Remote, c.Local.Addr())
	} else {
		cn.stream = j.stream(h, c)
	}
	if cn.flow == nil && cn.stream == nil {
		return nil
	}
	a := cn.account()
	a.total++
	a.fresh++
	return cn
}

// join looks for the other end of a connection.
func (j *Joiner) join(cn *conn, c *Connection) {
	if c.ISN != 0 && cn.isn == 0 && c.Protocol == "tcp" {
		cn.isn = c.ISN
		j.joinISN(cn)
	}
	j.joinWire(cn, c)
}
