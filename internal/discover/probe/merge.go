package probe

// surveying says that a survey begins, which merge ends.
func (l *ledger) surveying() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = map[tuple]bool{}
}

// merge takes a whole survey. Listeners come first: they tell who opened a
// connection that was there before us.
func (l *ledger) merge(all []sighting, owners map[uint64]int, walked map[uint32]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.survey++
	l.services.survey = l.survey
	l.unowned = 0
	for _, s := range all {
		if s.listening {
			l.services.found(service{s.protocol, s.namespace, s.local}, owners[s.inode])
		}
	}
	for _, s := range all {
		if !s.listening {
			l.sighted(s, owners[s.inode])
		}
	}
	l.ended = nil
	l.services.sweep(walked)
	l.sweep(walked)
}

func (l *ledger) sighted(s sighting, pid int) {
	if !usable(s.tuple) || l.ours(s.tuple) != nil {
		return
	}
	k := socketKey{s.namespace, s.socket}
	n := l.open[s.tuple]
	if n == nil {
		if l.ended[s.tuple] {
			return // seen before it ended
		}
		outbound := l.services.find(s.tuple) == nil
		if n = l.begin(s.tuple, k, outbound, pid); n == nil {
			return
		}
		if s.isn != nil {
			n.ISN = s.isn(outbound)
		}
		l.report(n)
	}
	n.seen = l.survey
	if n.PID == 0 && pid != 0 {
		n.PID = pid
		l.report(n)
	}
	if s.socket != 0 && n.socket != k && n.Closed.IsZero() {
		delete(l.sockets, n.socket)
		n.socket = k
		l.sockets[k] = n
	}
}

// sweep forgets connections that are gone though nobody told. When they closed is
// not known, so nothing is reported: who is not repeated is forgotten.
func (l *ledger) sweep(walked map[uint32]bool) {
	for _, n := range l.open {
		if walked[n.tuple.namespace] && l.survey-n.seen >= goneAfter {
			l.forget(n)
		}
	}
}
