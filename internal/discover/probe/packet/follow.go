package packet

import (
	"net/netip"
	"time"

	"github.com/droveway/droveway/internal/discover/probe/capture"
)

// follower makes events of the packets of one network namespace.
//
//	out SYN, in SYN+ACK   opened by us
//	in SYN, out SYN+ACK   opened by the other: the ACK that completes it is not
//	                      told from all the others
//	any FIN or RST        closed
//
// What came in and goes out again is forwarded, whatever addresses it has by then:
// its sequence numbers tell.
type follower struct {
	namespace uint32
	local     map[netip.Addr]bool
	half      map[ends]opening
	arrived   [2]map[passing]ends // now and a while ago
	turned    time.Time
	lost      uint64
}

type ends struct{ local, remote netip.AddrPort }

type opening struct {
	number   uint32
	outbound bool
	at       time.Time
}

type passing struct {
	seq, ack uint32
	flags    byte
}

const (
	maxHalf = 16384
	halfAge = time.Minute
	turn    = 5 * time.Second
)

func newFollower(namespace uint32) *follower {
	return &follower{
		namespace: namespace,
		half:      map[ends]opening{},
		arrived:   [2]map[passing]ends{{}, {}},
	}
}

// packet takes a packet that came in or went out.
func (f *follower) packet(s segment, out bool, at time.Time) (e capture.Event, ok bool) {
	f.expire(at)
	k := ends{s.to, s.from}
	if out {
		k = ends{s.from, s.to}
	}
	if s.flags&syn != 0 && f.forwarded(s, k, out) {
		return e, false
	}
	if a := k.local.Addr(); f.local != nil && !f.local[a] && !a.IsLoopback() {
		return e, false
	}
	e = capture.Event{
		Key:  capture.Key{Namespace: f.namespace, Local: k.local, Remote: k.remote},
		Time: at, Local: k.local, Remote: k.remote,
	}
	if s.flags&(fin|rst) != 0 {
		delete(f.half, k)
		e.Kind = capture.Closed
		return e, true
	}
	return f.opening(e, k, s, out)
}

func (f *follower) opening(e capture.Event, k ends, s segment, out bool) (capture.Event, bool) {
	if s.flags&ack == 0 {
		if _, known := f.half[k]; !known && len(f.half) >= maxHalf {
			f.lost++
			return e, false
		}
		f.half[k] = opening{s.seq, out, e.Time}
		return e, false
	}
	h, known := f.half[k]
	if !known || h.outbound == out || h.number+1 != s.ack {
		return e, false
	}
	delete(f.half, k)
	e.Kind, e.Outbound = capture.Opened, h.outbound
	e.ISN = uint64(h.number)<<32 | uint64(s.seq)
	return e, true
}

// forwarded remembers what came in, and reports whether what goes out is that.
func (f *follower) forwarded(s segment, k ends, out bool) bool {
	p := passing{s.seq, s.ack, s.flags & (syn | ack)}
	if !out {
		if len(f.arrived[0]) < maxHalf {
			f.arrived[0][p] = k
		}
		return false
	}
	for _, m := range f.arrived {
		if before, was := m[p]; was {
			delete(f.half, before) // it was for somebody behind us
			return true
		}
	}
	return false
}

func (f *follower) expire(now time.Time) {
	if now.Sub(f.turned).Abs() < turn {
		return
	}
	f.turned = now
	f.arrived[0], f.arrived[1] = map[passing]ends{}, f.arrived[0]
	for k, h := range f.half {
		if now.Sub(h.at).Abs() > halfAge {
			delete(f.half, k)
		}
	}
}
