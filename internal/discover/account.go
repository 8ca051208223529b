package discover

import (
	"cmp"
	"net/netip"
)

type flowKey struct {
	service  Service
	protocol string
	dialled  netip.AddrPort
}

func (k flowKey) compare(o flowKey) int {
	return cmp.Or(k.dialled.Compare(o.dialled), cmp.Compare(k.protocol, o.protocol), k.service.Compare(o.service))
}

// flow is what a service of a host dials.
type flow struct {
	flowKey
	account
	id        uint32
	host      *host
	pid       int
	source    netip.Addr
	timing    []span     // of connections without any match
	hearings  []*hearing // of its patterns, oldest first
	confirmed bool       // by two of them
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
		f.id = j.flows.add(f)
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
		s = &stream{streamKey: k, host: h}
		s.id = j.streams.add(s)
		h.streams[k] = s
		j.servedBy(s)
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

// servedBy notes the host of a stream where it is found fast.
func (j *Joiner) servedBy(s *stream) {
	if int(s.id) == len(j.servers) {
		j.servers, j.counts = append(j.servers, 0), append(j.counts, 0)
	}
	j.servers[s.id] = s.host.index
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
