package probe

import (
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/capture"
	"github.com/droveway/droveway/internal/discover/probe/emit"
)

// The bounds of a ledger.
const (
	maxOpen      = 32768
	maxPending   = discover.MaxConnections
	maxContacts  = 16384
	maxClaims    = 4096
	claimTime    = 2 * time.Minute // longer than the kernel keeps a closed socket
	contactTime  = 24 * time.Hour
	goneAfter    = 2 // surveys that did not see a connection
	repeatMargin = time.Minute
)

// ledger keeps the connections that are open and those that have yet to be
// reported. Everything in it is bounded: what does not fit is counted as lost.
type ledger struct {
	mu       sync.Mutex
	next     uint64
	survey   uint32 // number of the last
	open     map[tuple]*entry
	sockets  map[socketKey]*entry
	ended    map[tuple]bool // since the survey began that is under way; nil: none is
	pending  []*entry
	contacts map[netip.AddrPort]time.Time
	claims   map[emit.Claim]*claimed
	services *services
	lost     uint64
	unowned  int // opened since the last survey without a process
}

// tuple names a connection by its addresses.
type tuple struct {
	protocol      string
	namespace     uint32
	local, remote netip.AddrPort
}

// socketKey names it by its socket: a connection that was reset has lost its port
// when the kernel tells.
type socketKey struct {
	namespace uint32
	socket    uint64
}

// claimed is what sources told of a connection of a pattern.
type claimed struct {
	at             time.Time // when it was claimed
	opened, closed time.Time
}

type entry struct {
	discover.Connection
	tuple    tuple
	socket   socketKey
	reported time.Time
	pending  bool
	seen     uint32 // by which survey
}

func newLedger(s *services) *ledger {
	return &ledger{
		open: map[tuple]*entry{}, sockets: map[socketKey]*entry{},
		contacts: map[netip.AddrPort]time.Time{}, claims: map[emit.Claim]*claimed{},
		services: s,
	}
}

// take takes an event of a source.
func (l *ledger) take(e capture.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case capture.Listening:
		l.services.begun(service{"tcp", e.Key.Namespace, e.Local}, e.PID)
	case capture.Opened:
		l.opened(e)
	case capture.Closed, capture.Released:
		l.closed(e)
	}
}

func (l *ledger) opened(e capture.Event) {
	t := tuple{"tcp", e.Key.Namespace, e.Local, e.Remote}
	if !usable(t) {
		return
	}
	if c := l.ours(t); c != nil {
		c.opened = earliest(c.opened, e.Time)
		return
	}
	if old := l.open[t]; old != nil {
		if old.ISN == e.ISN && e.ISN != 0 {
			return // told twice
		}
		l.end(old, e.Time)
	}
	n := l.begin(t, socketKey{e.Key.Namespace, e.Key.Socket}, e.Outbound, e.PID)
	if n != nil {
		n.Opened, n.ISN = e.Time, e.ISN
		l.report(n)
	}
}

// begin opens an account. Nil: there is no room.
func (l *ledger) begin(t tuple, s socketKey, outbound bool, pid int) *entry {
	if len(l.open) >= maxOpen {
		l.lost++
		return nil
	}
	l.next++
	n := &entry{tuple: t, socket: s, seen: l.survey}
	n.Connection = discover.Connection{
		ID: strconv.FormatUint(l.next, 36), Protocol: t.protocol,
		Direction: discover.Inbound, Local: t.local, Remote: t.remote, PID: pid,
	}
	if outbound {
		n.Direction = discover.Outbound
		l.contact(t)
	} else if owner := l.services.owner(t); owner != 0 {
		n.PID = owner
	}
	if n.PID == 0 {
		l.unowned++
	}
	l.open[t] = n
	if s.socket != 0 {
		l.sockets[s] = n
	}
	return n
}

// closed ends a connection: the first end that says so counts. The account stays
// until the process is known or nobody can tell it any more.
func (l *ledger) closed(e capture.Event) {
	n := l.find(e)
	if n == nil {
		if c := l.ours(tuple{"tcp", e.Key.Namespace, e.Local, e.Remote}); c != nil {
			c.closed = earliest(c.closed, e.Time)
		}
		return
	}
	if n.PID == 0 && e.PID != 0 {
		n.PID = e.PID
		l.report(n)
	}
	if n.Closed.IsZero() {
		l.close(n, e.Time)
	}
	if n.PID != 0 || e.Kind == capture.Released || e.Key.Socket == 0 {
		l.forget(n)
	}
}

func (l *ledger) find(e capture.Event) *entry {
	if n := l.sockets[socketKey{e.Key.Namespace, e.Key.Socket}]; n != nil && n.fits(e) {
		return n
	}
	return l.open[tuple{"tcp", e.Key.Namespace, e.Local, e.Remote}]
}

// fits reports whether an event of the socket may be of the connection: the kernel
// uses the memory again at once, so that a survey may have seen the next
// connection there before the source tells of the end of the last.
func (n *entry) fits(e capture.Event) bool {
	return (e.Local.Port() == 0 || e.Local == n.tuple.local) && (e.Remote.Port() == 0 || e.Remote == n.tuple.remote)
}

func (l *ledger) close(n *entry, at time.Time) {
	if at.Before(n.Opened) {
		at = n.Opened // the clock was set
	}
	n.Closed = at
	l.report(n)
}

func (l *ledger) end(n *entry, at time.Time) {
	if n.Closed.IsZero() {
		l.close(n, at)
	}
	l.forget(n)
}

func (l *ledger) forget(n *entry) {
	if l.ended != nil && len(l.ended) < maxOpen {
		l.ended[n.tuple] = true
	}
	if l.open[n.tuple] == n {
		delete(l.open, n.tuple)
	}
	if l.sockets[n.socket] == n {
		delete(l.sockets, n.socket)
	}
}

// report puts a connection into the next report.
func (l *ledger) report(n *entry) {
	if n.pending {
		return
	}
	if len(l.pending) >= maxPending {
		l.lost++
		return
	}
	n.pending = true
	l.pending = append(l.pending, n)
}

// drain gives what is to be reported, at most so many.
func (l *ledger) drain(most int, now time.Time) []discover.Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(most, len(l.pending))
	out := make([]discover.Connection, n)
	for i, e := range l.pending[:n] {
		e.pending, e.reported = false, now
		out[i] = e.Connection
	}
	rest := copy(l.pending, l.pending[n:])
	clear(l.pending[rest:])
	l.pending = l.pending[:rest]
	return out
}

// repeat puts those that were not reported for long into the next report.
func (l *ledger) repeat(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.open {
		if n.Closed.IsZero() && now.Sub(n.reported) >= discover.Repeat-repeatMargin {
			l.report(n)
		}
	}
}

// takeLost gives the events that were lost since the last call.
func (l *ledger) takeLost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lost
	l.lost = 0
	return n
}

// wantsOwners reports whether a survey could find processes that are missing.
func (l *ledger) wantsOwners() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unowned > 0
}

func usable(t tuple) bool {
	return t.local.IsValid() && t.remote.IsValid() && t.local.Port() != 0 && t.remote.Port() != 0
}
