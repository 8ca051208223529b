package discover

// conn is one end of a connection that may still change: open, or its other end
// unseen.
type conn struct {
	flow       *flow   // of an outbound connection
	stream     *stream // of an inbound one
	isn        uint64
	opened     int64 // by the host's clock; 0: not known
	relation   *relation
	evidence   Evidence
	next, prev *conn // in the host's waiting
	since      int64
}

func (c *conn) host() *host {
	if c.flow != nil {
		return c.flow.host
	}
	return c.stream.host
}

// waiting is the ends of a host that wait for their other end, oldest first.
// There may be very many, so they are their own list.
type waiting struct {
	root conn
	size int
}

func newWaiting() *waiting {
	w := &waiting{}
	w.root.next, w.root.prev = &w.root, &w.root
	return w
}

func (w *waiting) push(c *conn, now int64) {
	c.since = now
	c.prev, c.next = w.root.prev, &w.root
	c.prev.next, c.next.prev = c, c
	w.size++
}

func (w *waiting) remove(c *conn) {
	c.prev.next, c.next.prev = c.next, c.prev
	c.next, c.prev = nil, nil
	w.size--
}

// joinISN joins the ends that saw the same pair of sequence numbers. The pair
// says nothing about the protocol: only TCP has one.
func (j *Joiner) joinISN(cn *conn) {
	mine, theirs := j.ins, j.outs
	if cn.flow != nil {
		mine, theirs = theirs, mine
	}
	if other := theirs[cn.isn]; other != nil {
		j.forget(other)
		if other.relation == nil {
			j.match(cn, other, ISN)
		}
		return
	}
	if same := mine[cn.isn]; same != nil {
		j.forget(same) // a probe that began anew reports it again
	}
	mine[cn.isn] = cn
	w := cn.host().pending
	w.push(cn, j.now)
	if w.size > j.limits.Pending {
		j.forget(w.root.next)
	}
}

// forget ends the wait of an end.
func (j *Joiner) forget(c *conn) {
	if c.flow != nil {
		delete(j.outs, c.isn)
	} else {
		delete(j.ins, c.isn)
	}
	c.host().pending.remove(c)
}

// forgetPending ends the wait of what waits since before a time.
func (j *Joiner) forgetPending(h *host, before int64) {
	for c := h.pending.root.next; c != &h.pending.root && c.since < before; c = h.pending.root.next {
		j.forget(c)
	}
}
