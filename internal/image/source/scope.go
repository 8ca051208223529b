package source

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"sync"

	"github.com/droveway/droveway"
)

// scope is how far an address reaches. A server out there must not lead us, who may
// speak to what it cannot reach, to a service of this machine or of the network
// around it.
//
//	this machine, its link  <  private networks  <  the rest
type scope int

const (
	local scope = iota
	private
	public
)

func (s scope) String() string {
	return [...]string{"an address of this machine or its link", "a private address", "a public address"}[s]
}

// shared are the addresses between a provider and its translators, RFC 6598.
var shared = netip.MustParsePrefix("100.64.0.0/10")

func scopeOf(a netip.Addr) scope {
	a = a.Unmap()
	switch {
	case a.IsLoopback(), a.IsUnspecified(), a.IsLinkLocalUnicast(), a.IsMulticast():
		return local
	case a.IsPrivate(), shared.Contains(a):
		return private
	}
	return public
}

// isOwn reports whether an address is this machine's, as a public one may be. If that
// cannot be told, it is.
func isOwn(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(all, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr().Unmap() == a.Unmap().WithZone("")
	})
}

// trail is the widest scope that a request and its redirects have been in.
type trail struct {
	mu     sync.Mutex
	widest scope
}

func (t *trail) extend(s scope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.widest = max(t.widest, s)
}

func (t *trail) scope() scope {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.widest
}

type trailKey struct{}

func withTrail(ctx context.Context) context.Context {
	return context.WithValue(ctx, trailKey{}, &trail{})
}

// scoped has connections for each scope, as one that is there already is used
// without another look at where it goes.
type scoped struct {
	from [public + 1]*http.Transport
	own  func(netip.Addr) bool // is an address this machine's
}

func newScoped(t *http.Transport, own func(netip.Addr) bool) *scoped {
	s := &scoped{own: own}
	s.from[local] = t
	for from := private; from <= public; from++ {
		s.from[from] = t.Clone()
		s.from[from].DialContext = s.within(from, t.DialContext)
	}
	return s
}

// reached is the scope of the other end of a connection.
func (s *scoped) reached(c net.Conn) scope {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil || s.own(at.Addr()) {
		return local // no network, or not beyond this machine
	}
	return scopeOf(at.Addr())
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// within dials addresses that reach as far as a scope, or farther. It asks the
// connection, as a name may mean another address each time it is looked up.
func (s *scoped) within(least scope, d dial) dial {
	if d == nil {
		d = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if to := s.reached(c); to < least {
			_ = c.Close()
			return nil, droveway.Errorf(droveway.Invalid, "a redirect from %s to %s: give that address itself if you trust it", least, to)
		}
		return c, nil
	}
}

func (s *scoped) RoundTrip(r *http.Request) (*http.Response, error) {
	t, ok := r.Context().Value(trailKey{}).(*trail)
	if !ok {
		return s.from[local].RoundTrip(r)
	}
	from := t.scope()
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { t.extend(s.reached(i.Conn)) },
	})
	return s.from[from].RoundTrip(r.WithContext(ctx))
}

// CloseIdleConnections is what http.Client looks for.
func (s *scoped) CloseIdleConnections() {
	for _, t := range s.from {
		t.CloseIdleConnections()
	}
}
