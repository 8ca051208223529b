package probe

import (
	"net/netip"
	"time"
)

// contact notes that the host talks to somebody.
func (l *ledger) contact(t tuple) {
	if t.protocol != "tcp" {
		return
	}
	if _, known := l.contacts[t.remote]; !known && len(l.contacts) >= maxContacts {
		clear(l.contacts) // those that matter come again
	}
	l.contacts[t.remote] = time.Now()
}

// contacted reports whether the host talked to a destination of late.
func (l *ledger) contacted(d netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.contacts[d]
	return ok && time.Since(at) < contactTime
}

// claim says that a connection about to be opened is of a pattern.
func (l *ledger) claim(namespace uint32, port uint16, to netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for c, at := range l.claims {
		if now.Sub(at) > claimTime || len(l.claims) >= maxClaims {
			delete(l.claims, c)
		}
	}
	l.claims[claim{namespace, port, to}] = now
}

// ours reports whether a connection is of a pattern, and not the other end of
// one: that is as much news as any other.
func (l *ledger) ours(t tuple) bool {
	at, ok := l.claims[claim{t.namespace, t.local.Port(), t.remote}]
	return ok && time.Since(at) <= claimTime
}
