package probe

import (
	"net/netip"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

const maxServices = 2 * discover.MaxListeners

// services knows who listens where, in every network namespace. The ledger guards
// it.
type services struct {
	all    map[service]*listener
	survey uint32
}

// service is a port that somebody listens at.
type service struct {
	protocol  string
	namespace uint32
	at        netip.AddrPort
}

type listener struct {
	pid      int
	reported time.Time
	seen     uint32
}

func newServices() *services { return &services{all: map[service]*listener{}} }

// add notes a service. A process that a survey found holding the socket is better
// than the one that asked for it: who listens may pass the socket on.
func (s *services) add(k service, pid int) {
	if !k.at.IsValid() || k.at.Port() == 0 {
		return
	}
	l := s.all[k]
	if l == nil {
		if len(s.all) >= maxServices {
			return
		}
		l = &listener{}
		s.all[k] = l
	}
	l.seen = s.survey
	if pid != 0 && l.pid != pid {
		l.pid, l.reported = pid, time.Time{}
	}
}

// owner is the process that serves the local end of a connection.
func (s *services) owner(t tuple) int {
	if l := s.find(t); l != nil {
		return l.pid
	}
	return 0
}

func (s *services) find(t tuple) *listener {
	for _, a := range [...]netip.Addr{t.local.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if l := s.all[service{t.protocol, t.namespace, netip.AddrPortFrom(a, t.local.Port())}]; l != nil {
			return l
		}
	}
	return nil
}

// sweep forgets what surveys do not find any more.
func (s *services) sweep(walked map[uint32]bool) {
	for k, l := range s.all {
		if walked[k.namespace] && s.survey-l.seen >= goneAfter {
			delete(s.all, k)
		}
	}
}

// due gives the listeners to report, at most so many. The same port of two
// namespaces is one to the reader, who cannot tell them apart.
func (s *services) due(most int, now time.Time) (out []discover.Listener) {
	for k, l := range s.all {
		if len(out) >= most {
			break
		}
		if now.Sub(l.reported) < discover.Repeat {
			continue
		}
		l.reported = now
		out = append(out, discover.Listener{Protocol: k.protocol, Address: k.at, PID: l.pid})
	}
	return out
}
