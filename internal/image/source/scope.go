package source

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
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

// reached is the scope of the other end of a connection.
func reached(a net.Addr) scope {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return local // no network
	}
	return scopeOf(at.Addr())
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
type scoped [public + 1]*http.Transport

func newScoped(t *http.Transport) *scoped {
	s := scoped{local: t}
	for from := private; from <= public; from++ {
		s[from] = t.Clone()
		s[from].DialContext = within(from, t.DialContext)
	}
	return &s
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// within dials addresses that reach as far as a scope, or farther. It asks the
// connection, as a name may mean another address each time it is looked up.
func within(least scope, d dial) dial {
	if d == nil {
		d = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if s := reached(c.RemoteAddr()); s < least {
			_ = c.Close()
			return nil, droveway.Errorf(droveway.Invalid, "a redirect from %s to %s: give that address itself if you trust it", least, s)
		}
		return c, nil
	}
}

func (s *scoped) RoundTrip(r *http.Request) (*http.Response, error) {
	t, ok := r.Context().Value(trailKey{}).(*trail)
	if !ok {
		return s[local].RoundTrip(r)
	}
	from := t.scope()
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { t.extend(reached(i.Conn.RemoteAddr())) },
	})
	return s[from].RoundTrip(r.WithContext(ctx))
}

// CloseIdleConnections is what http.Client looks for.
func (s *scoped) CloseIdleConnections() {
	for _, t := range s {
		t.CloseIdleConnections()
	}
}
