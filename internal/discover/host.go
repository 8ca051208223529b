package discover

import (
	"net/netip"
	"time"
)

// host is what the joiner knows of one host. Everything in it is bounded.
type host struct {
	name  string
	index uint32
	lives []*life // of its probe, newest last
	seen  Coverage

	processes map[int]Service
	bare      map[Service]Service // who goes by a kernel's name; zero: several
	listeners map[listenerKey]int // process
	open      *recent[connKey, *conn]
	waiting   waiting
	flows     map[flowKey]*flow
	streams   map[streamKey]*stream
	heard     bucket
	wired     bucket
}

// Coverage says how well a host was watched.
type Coverage struct {
	Host    string    `json:"host"`
	Source  string    `json:"source"` // of the probe's events
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"`
	Missing uint64    `json:"missing"` // reports that never came
	Lost    uint64    `json:"lost"`    // events that the probe or the joiner could not keep
	// DiskBytes is what the host's own disks hold; 0: not known.
	DiskBytes int64 `json:"disk_bytes,omitempty"`
}

type listenerKey struct {
	protocol string
	address  netip.Addr // unspecified: any
	port     uint16
}

// life is one run of a probe: its reports are numbered from 1.
type life struct {
	probe string
	base  uint64 // reports up to here were before us
	top   uint64 // highest number seen
	below uint64 // bit i: top-i was seen
	seen  uint64
}

const (
	keptLives  = 4
	lifeWindow = 64 // how far reports may overtake each other
)

// take reports whether the report is new.
func (l *life) take(seq uint64) bool {
	if l.seen == 0 {
		l.base = seq - 1
	}
	switch {
	case seq > l.top:
		l.below <<= min(seq-l.top, lifeWindow)
		l.top = seq
	case l.top-seq >= lifeWindow || l.below&(1<<(l.top-seq)) != 0:
		return false
	}
	l.below |= 1 << (l.top - seq)
	l.base = min(l.base, seq-1)
	l.seen++
	return true
}

// missing is how many reports did not come, or did not come yet.
func (l *life) missing() uint64 { return l.top - l.base - l.seen }

// life finds the run of the probe, or begins it.
func (h *host) life(probe string) *life {
	for _, l := range h.lives {
		if l.probe == probe {
			return l
		}
	}
	l := &life{probe: probe}
	h.lives = append(h.lives, l)
	if len(h.lives) > keptLives {
		h.lives = h.lives[1:]
	}
	return l
}

// learn takes the processes and listeners of a report.
func (h *host) learn(r Report) {
	if len(h.processes)+len(r.Processes) > 2*MaxProcesses {
		clear(h.processes)
	}
	for _, p := range r.Processes {
		h.processes[p.PID] = h.whole(Service{Unit: p.Unit, Container: p.Container, Executable: p.Executable})
	}
	if len(h.listeners)+len(r.Listeners) > 2*MaxListeners {
		clear(h.listeners)
	}
	for _, l := range r.Listeners {
		key := listenerKey{l.Protocol, l.Address.Addr(), l.Address.Port()}
		if l.PID == 0 {
			delete(h.listeners, key) // whoever has it now, it is not the one it was
			continue
		}
		h.listeners[key] = l.PID
	}
}

// whole gives a service that is known by its kernel's name alone the rest, if
// only one service of the host goes by that name.
func (h *host) whole(s Service) Service {
	bare := s.Bare()
	known, is := h.bare[bare]
	switch {
	case s == bare && known != (Service{}):
		return known
	case s == bare:
	case !is && len(h.bare) < MaxProcesses:
		h.bare[bare] = s
	case known != s:
		h.bare[bare] = Service{}
	}
	return s
}

// owner finds the process that serves an address: an inbound connection is often
// seen before the process that accepts it.
func (h *host) owner(protocol string, at netip.AddrPort) int {
	for _, a := range []netip.Addr{at.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if pid := h.listeners[listenerKey{protocol, a, at.Port()}]; pid != 0 {
			return pid
		}
	}
	return 0
}

// bucket is a leaky bucket: so many at once, refilled over a time.
type bucket struct {
	level float64
	at    int64
}

// spill reports whether one more does not fit.
func (b *bucket) spill(now int64, size int, refill time.Duration) bool {
	if now > b.at {
		b.level = max(0, b.level-float64(size)*float64(now-b.at)/float64(refill))
		b.at = now
	}
	if b.level+1 > float64(size) {
		return true
	}
	b.level++
	return false
}
