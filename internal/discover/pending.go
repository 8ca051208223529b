package discover

// conn is one end of a connection that may still change: open, or its other end
// unseen.
type conn struct {
	flow     *flow   // of an outbound connection
	stream   *stream // of an inbound one
	isn      uint64
	opened   int64 // by the host's clock; 0: not known
	relation *relation
	evidence Evidence
	waits    uint32 // as which slot of pending; 0: none
	wired    bool   // remembered by its addresses
}

func (c *conn) host() *host {
	if c.flow != nil {
		return c.flow.host
	}
	return c.stream.host
}

// joinISN joins the ends that saw the same pair of sequence numbers. The pair
// says nothing about the protocol: only TCP has one.
func (j *Joiner) joinISN(cn *conn) {
	if id := j.pending.find(cn.isn); id != 0 {
		other := j.pended(id)
		j.forget(id) // of the same side: a probe that began anew reports it again
		if (other.flow == nil) != (cn.flow == nil) {
			if other.relation == nil {
				j.match(cn, other, ISN)
			}
			return
		}
	}
	w := &cn.host().waiting
	cn.waits = j.pending.add(w, slot{isn: cn.isn, opened: cn.opened, since: seconds(j.now), end: cn.end()})
	if w.size > j.limits.Pending {
		j.forget(w.oldest)
	}
}

// end is which account an end of a connection is in: the number of a flow, or of a
// stream.
type end uint32

// The highest bits of an end.
const (
	inboundEnd end = 1 << 31
	heldEnd    end = 1 << 30 // there is a conn of it, which may have changed
)

func (c *conn) end() end {
	if c.flow != nil {
		return end(c.flow.id)
	}
	return end(c.stream.id) | inboundEnd
}

// pended gives the end in a slot as a conn.
func (j *Joiner) pended(id uint32) *conn {
	s := j.pending.at(id)
	if s.end&heldEnd != 0 {
		return j.pending.held[id]
	}
	c := &conn{isn: s.isn, opened: s.opened}
	if n := uint32(s.end &^ inboundEnd); s.end&inboundEnd != 0 {
		c.stream = j.streams.all[n]
	} else {
		c.flow = j.flows.all[n]
	}
	return c
}

// forget ends the wait of an end.
func (j *Joiner) forget(id uint32) {
	s := j.pending.at(id)
	h := j.hostOf(s.end)
	if s.end&heldEnd != 0 {
		j.pending.held[id].waits = 0
		delete(j.pending.held, id)
	}
	j.pending.remove(&h.waiting, id)
}

func (j *Joiner) hostOf(e end) *host {
	if e&inboundEnd != 0 {
		return j.streams.all[uint32(e&^(inboundEnd|heldEnd))].host
	}
	return j.flows.all[uint32(e&^heldEnd)].host
}

// forgetPending ends the wait of what waits since before a time.
func (j *Joiner) forgetPending(h *host, before int64) {
	for w := &h.waiting; w.size > 0 && j.pending.at(w.oldest).since < seconds(before); {
		j.forget(w.oldest)
	}
}

// pending is the ends of connections whose other end was not seen yet. There may
// be very many, most of them closed, so they are small and hold no pointers, which
// the collector of garbage would have to follow.
type pending struct {
	byISN  byISN
	blocks []*[blockSlots]slot
	free   uint32           // the first of a list; 0: none
	used   uint32           // slots that were ever used; 0 is none
	held   map[uint32]*conn // by slot: what is open, or remembered otherwise
}

// slot is one end that waits.
type slot struct {
	isn            uint64
	opened         int64
	since          uint32 // in seconds
	end            end
	older, younger uint32 // slots of the same host
}

const blockSlots = 4096

// waiting is the ends of one host that wait, oldest first.
type waiting struct {
	oldest, youngest uint32
	size             int
}

func newPending() pending {
	return pending{byISN: newByISN(), held: map[uint32]*conn{}}
}

func (p *pending) at(id uint32) *slot { return &p.blocks[id/blockSlots][id%blockSlots] }

// find gives the slot of a pair of sequence numbers; 0: nothing waits for it.
func (p *pending) find(isn uint64) uint32 {
	return p.byISN.get(isn, func(id uint32) uint64 { return p.at(id).isn })
}

// add appends to what a host waits for. Nothing may wait for the same sequence
// numbers.
func (p *pending) add(w *waiting, s slot) uint32 {
	id := p.take()
	s.older = w.youngest
	*p.at(id) = s
	if w.size++; w.size == 1 {
		w.oldest = id
	} else {
		p.at(w.youngest).younger = id
	}
	w.youngest = id
	p.byISN.put(s.isn, id)
	return id
}

// take gives a slot that nothing is in.
func (p *pending) take() uint32 {
	if id := p.free; id != 0 {
		p.free = p.at(id).younger
		return id
	}
	p.used++
	if int(p.used/blockSlots) == len(p.blocks) {
		p.blocks = append(p.blocks, new([blockSlots]slot))
	}
	return p.used
}

func (p *pending) remove(w *waiting, id uint32) {
	s := p.at(id)
	p.byISN.remove(s.isn, id)
	if w.oldest == id {
		w.oldest = s.younger
	} else {
		p.at(s.older).younger = s.younger
	}
	if w.youngest == id {
		w.youngest = s.older
	} else {
		p.at(s.younger).older = s.older
	}
	w.size--
	*s = slot{younger: p.free}
	p.free = id
}

// hold keeps the conn of an end that waits, which may change.
func (p *pending) hold(c *conn) {
	if c.waits != 0 {
		p.at(c.waits).end |= heldEnd
		p.held[c.waits] = c
	}
}

// letGo keeps of an end that waits only what its slot says.
func (p *pending) letGo(c *conn) {
	if c.waits == 0 || c.wired {
		return
	}
	s := p.at(c.waits)
	if s.end&heldEnd != 0 {
		delete(p.held, c.waits)
	}
	s.opened, s.end = c.opened, s.end&^heldEnd
}

// seconds is a time for which little room is left: until the year 2106.
func seconds(ns int64) uint32 { return uint32(max(ns, 0) / 1e9) }
