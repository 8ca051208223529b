package probe

import (
	"sync"

	"github.com/droveway/droveway/internal/discover/probe/capture"
)

// scope is which network namespaces are the probe's. The kernel tells a probe in
// a PID namespace of its own of the connections of the whole machine; those of
// namespaces that no process it can see is in are of other hosts.
type scope struct {
	all bool

	mu     sync.Mutex
	survey uint32
	seen   map[uint32]uint32 // by which survey last
}

func newScope(all bool) *scope { return &scope{all: all, seen: map[uint32]uint32{}} }

// has reports whether an event is of the probe's host. A process that is known
// makes its namespace known, which may be too new for a survey.
func (s *scope) has(e capture.Event) bool {
	if s.all {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.PID != 0 {
		s.seen[e.Key.Namespace] = s.survey
	}
	_, ok := s.seen[e.Key.Namespace]
	return ok
}

// surveyed says which network namespaces there are, and a process in each.
func (s *scope) surveyed(namespaces map[uint32]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.survey++
	for ns := range namespaces {
		s.seen[ns] = s.survey
	}
	for ns, last := range s.seen {
		if s.survey-last >= goneAfter {
			delete(s.seen, ns)
		}
	}
}
