package probe

import (
	"net/netip"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/emit"
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
func (l *ledger) claim(c emit.Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for c, is := range l.claims {
		if now.Sub(is.at) > claimTime || len(l.claims) >= maxClaims {
			delete(l.claims, c)
		}
	}
	l.claims[c] = &claimed{at: now}
}

// ours gives the claim to a connection of a pattern; nil: it is of none, or the
// other end of one, which is as much news as any other.
func (l *ledger) ours(t tuple) *claimed {
	c := l.claims[emit.Claim{Namespace: t.namespace, Port: t.local.Port(), To: t.remote}]
	if c == nil || time.Since(c.at) > claimTime {
		return nil
	}
	return c
}

// measured gives an emission the times of a source where there is one. On a busy
// machine the emitter is late to look at its clock, and the other end is measured
// by a source too.
func (l *ledger) measured(e discover.Emission, c emit.Claim) discover.Emission {
	l.mu.Lock()
	defer l.mu.Unlock()
	is := l.claims[c]
	if is == nil || is.opened.IsZero() || is.closed.IsZero() || e.Closed.IsZero() {
		return e
	}
	e.Opened, e.Closed = is.opened, is.closed
	return e
}

func earliest(known, t time.Time) time.Time {
	if known.IsZero() || t.Before(known) {
		return t
	}
	return known
}
