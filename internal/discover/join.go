package discover

import (
	"net/netip"
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

	hosts  map[string]*host
	byID   []*host
	clocks *clocks

	outs, ins map[pendingKey]*conn
	wires     wires
	relations map[relationKey]*relation
	streams   []*stream // by id
	free      []uint32  // ids
	ear       ear
	patterns  map[string]*emitted
	hearings  *recent[memberKey, hearing]
	timings   []timingDue

	reviews  []review
	changed  []*relation
	out      []Finding
	outcomes []Outcome
	swept    int64
}

type flowKey struct {
	service  Service
	protocol string
	dialled  netip.AddrPort
}

// flow is what a service of a host dials.
type flow struct {
	flowKey
	account
	host   *host
	pid    int
	source netip.Addr
	timing []span // of connections without any match
}

type streamKey struct {
	protocol string
	port     uint16
	seen     netip.Addr
}

// stream is what reaches a port of a host from one address.
type stream struct {
	streamKey
	account
	id      uint32
	host    *host
	service Service
	served  netip.Addr // its own address
	pid     int
	heard   int // kept in the ear
}

// account counts how many connections of a flow or a stream are explained.
type account struct {
	total, matched int
	relations      []*relation
	fresh          int   // connections since the last one-sided finding
	last           int64 // unix nanoseconds
	queued         bool
	reported       bool // as one-sided
}

type relationKey struct {
	flow   *flow
	stream *stream
}

// relation joins a flow and a stream.
type relation struct {
	relationKey
	best   Evidence
	kinds  map[Evidence]*tally
	hops   []string
	queued bool
}

// tally is what one kind of evidence saw since the last finding.
type tally struct {
	count       int
	score       float64
	first, last int64
	fresh       bool
}

// conn is a connection that may still change: open, or its other end unseen.
type conn struct {
	host     *host
	flow     *flow
	stream   *stream
	isn      uint64
	opened   int64 // by the host's clock; 0: not known
	relation *relation
	evidence Evidence
}

type connKey struct {
	life *life
	id   string
}

// A pair of sequence numbers says nothing about the protocol, so only TCP has one.
type pendingKey struct {
	isn      uint64
	outbound bool
}

// New makes a joiner that knows nothing.
func New(l Limits) *Joiner {
	return &Joiner{
		limits:    l.filled(),
		hosts:     map[string]*host{},
		clocks:    newClocks(),
		outs:      map[pendingKey]*conn{},
		ins:       map[pendingKey]*conn{},
		wires:     newWires(),
		relations: map[relationKey]*relation{},
		ear:       ear{slabs: map[int64]*slab{}},
		patterns:  map[string]*emitted{},
		hearings:  newRecent[memberKey, hearing](keptHearings),
	}
}

// Add takes a report that Decode read and that arrived now, and gives what it
// showed. A repeated report shows nothing.
func (j *Joiner) Add(r Report, now time.Time) []Finding {
	j.now = max(j.now, now.UnixNano())
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
		listeners: map[listenerKey]int{},
		open:      newRecent[connKey, *conn](j.limits.Open),
		pending:   newRecent[pendingKey, *conn](j.limits.Pending),
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
	} else {
		j.touch(cn, c)
	}
	if c.Closed.IsZero() {
		h.open.put(k, cn, j.now, nil)
		return
	}
	h.open.remove(k)
	if cn.relation == nil {
		j.unmatched(cn, c)
	}
}

// begin opens an account for one end of a connection; nil if the host has too
// many accounts.
func (j *Joiner) begin(h *host, c *Connection) *conn {
	cn := &conn{host: h}
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

func (c *conn) account() *account {
	if c.flow != nil {
		return &c.flow.account
	}
	return &c.stream.account
}

func (j *Joiner) flow(h *host, protocol string, pid int, dialled netip.AddrPort, source netip.Addr) *flow {
	k := flowKey{h.processes[pid], protocol, dialled}
	f := h.flows[k]
	if f == nil {
		if len(h.flows) >= j.limits.Flows {
			return nil
		}
		f = &flow{flowKey: k, host: h}
		h.flows[k] = f
	}
	if pid != 0 {
		f.pid = pid
	}
	if source.IsValid() {
		f.source = source
	}
	return f
}

func (j *Joiner) stream(h *host, c *Connection) *stream {
	k := streamKey{c.Protocol, c.Local.Port(), c.Remote.Addr()}
	s := h.streams[k]
	if s == nil {
		if len(h.streams) >= j.limits.Streams {
			return nil
		}
		s = &stream{streamKey: k, host: h, id: j.streamID()}
		h.streams[k] = s
		j.streams[s.id] = s
	}
	s.served = c.Local.Addr()
	s.serve(c)
	return s
}

// serve finds out which service a stream reaches.
func (s *stream) serve(c *Connection) {
	pid := c.PID
	if pid == 0 {
		pid = s.host.owner(c.Protocol, c.Local)
	}
	if svc, ok := s.host.processes[pid]; ok {
		s.pid, s.service = pid, svc
	}
}

func (j *Joiner) streamID() uint32 {
	if n := len(j.free); n > 0 {
		id := j.free[n-1]
		j.free = j.free[:n-1]
		return id
	}
	j.streams = append(j.streams, nil)
	return uint32(len(j.streams) - 1)
}

// join looks for the other end of a connection.
func (j *Joiner) join(cn *conn, c *Connection) {
	if c.ISN != 0 && cn.isn == 0 && c.Protocol == "tcp" {
		cn.isn = c.ISN
		j.joinISN(cn)
	}
	if cn.relation == nil {
		j.joinWire(cn, c)
	}
}

// joinISN joins the ends that saw the same pair of sequence numbers. An end
// that waits in vain is forgotten with its host's oldest.
func (j *Joiner) joinISN(cn *conn) {
	mine := pendingKey{cn.isn, cn.flow != nil}
	theirs := pendingKey{cn.isn, !mine.outbound}
	other := j.side(theirs)[theirs]
	if other == nil {
		j.side(mine)[mine] = cn
		cn.host.pending.put(mine, cn, j.now, j.forget)
		return
	}
	delete(j.side(theirs), theirs)
	other.host.pending.remove(theirs)
	if other.relation == nil {
		j.match(cn, other, ISN)
	}
}

func (j *Joiner) side(k pendingKey) map[pendingKey]*conn {
	if k.outbound {
		return j.outs
	}
	return j.ins
}

func (j *Joiner) forget(k pendingKey, cn *conn) {
	if m := j.side(k); m[k] == cn {
		delete(m, k)
	}
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
		at = min(at, j.clocks.ours(a.host.index, a.opened))
	}
	if e == ISN && a.opened != 0 && b.opened != 0 {
		j.clocks.matched(a.host.index, b.host.index, a.opened, b.opened)
	}
	j.saw(r, e, 1, 1, at)
}

// maxRelations is how many servers and public addresses one flow may have.
const maxRelations = 256

// relate gives the relation of a flow and a stream.
func (j *Joiner) relate(f *flow, s *stream) *relation {
	k := relationKey{f, s}
	r := j.relations[k]
	if r == nil {
		if len(f.relations) >= maxRelations {
			j.unrelate(f.relations[:1])
		}
		r = &relation{relationKey: k, kinds: map[Evidence]*tally{}}
		j.relations[k] = r
		f.relations = append(f.relations, r)
		s.relations = append(s.relations, r)
		j.explained(f, nil)
		j.explained(nil, s)
	}
	return r
}

// saw adds evidence to a relation.
func (j *Joiner) saw(r *relation, e Evidence, count int, score float64, at int64) {
	t := r.kinds[e]
	if t == nil {
		t = &tally{first: at}
		r.kinds[e] = t
	}
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

// touch keeps the relation of an open connection alive.
func (j *Joiner) touch(cn *conn, c *Connection) {
	at := j.now
	if !c.Closed.IsZero() {
		at = min(at, j.clocks.ours(cn.host.index, c.Closed.UnixNano()))
	}
	j.saw(cn.relation, cn.evidence, 0, 0, at)
}

// flush turns what changed into findings.
func (j *Joiner) flush() []Finding {
	for _, r := range j.changed {
		r.queued = false
		for _, e := range Kinds() {
			if t := r.kinds[e]; t != nil && t.fresh {
				j.out = append(j.out, r.finding(e, t))
				t.count, t.fresh = 0, false
			}
		}
	}
	out := j.out
	j.changed, j.out = j.changed[:0], nil
	return out
}

func (r *relation) finding(e Evidence, t *tally) Finding {
	f, s := r.flow, r.stream
	return Finding{
		Evidence: e, Protocol: f.protocol, Port: s.port,
		Client: f.party(), Server: s.party(),
		Dialled: f.dialled, Served: netip.AddrPortFrom(s.served, s.port), Source: f.source, Seen: s.seen, Hops: r.hops,
		ClientPID: f.pid, ServerPID: s.pid,
		First: time.Unix(0, t.first).UTC(), Last: time.Unix(0, t.last).UTC(),
		Count: t.count, Score: t.score,
	}
}

// A process is often reported after its first connection.
func (f *flow) party() Party {
	if f.service == (Service{}) {
		return Party{Host: f.host.name, Service: f.host.processes[f.pid]}
	}
	return Party{Host: f.host.name, Service: f.service}
}

func (s *stream) party() Party {
	if s.service == (Service{}) {
		s.pid = or(s.pid, s.host.owner(s.protocol, netip.AddrPortFrom(s.served, s.port)))
		s.service = s.host.processes[s.pid]
	}
	return Party{Host: s.host.name, Service: s.service}
}
