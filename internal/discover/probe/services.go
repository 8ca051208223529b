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
	held     bool // a survey found the process holding the socket
	reported time.Time
	seen     uint32
}

func newServices() *services { return &services{all: map[service]*listener{}} }

// begun notes who asked for a service, 0: somebody unknown, who is not the one
// that did before.
func (s *services) begun(k service, pid int) {
	if l := s.at(k); l != nil {
		l.serve(pid, false)
	}
}

// found notes a service that a survey saw. A process that holds the socket is
// better than the one that asked for it: who listens may pass the socket on. Who
// was never seen holding it may do so all the same, hidden.
func (s *services) found(k service, pid int) {
	l := s.at(k)
	if l != nil && (pid != 0 || l.held) {
		l.serve(pid, pid != 0)
	}
}

func (l *listener) serve(pid int, held bool) {
	if l.pid != pid {
		l.reported = time.Time{}
	}
	l.pid, l.held = pid, held
}

// at gives the listener of a service, a new one if need be. Nil: it is none, or
// there is no room.
func (s *services) at(k service) *listener {
	if !k.at.IsValid() || k.at.Port() == 0 {
		return nil
	}
	l := s.all[k]
	if l == nil {
		if len(s.all) >= maxServices {
			return nil
		}
		l = &listener{}
		s.all[k] = l
	}
	l.seen = s.survey
	return l
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
