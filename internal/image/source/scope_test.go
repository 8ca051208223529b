package source

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/droveway/droveway"
)

func TestScopeOf(t *testing.T) {
	t.Parallel()
	for want, addresses := range map[scope][]string{
		local:   {"127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"},
		private: {"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"},
		public:  {"8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"},
	} {
		for _, a := range addresses {
			if got := scopeOf(netip.MustParseAddr(a)); got != want {
				t.Errorf("%s is %s, want %s", a, got, want)
			}
		}
	}
}

// TestOwnAddress knows the addresses of this machine, whatever is in front of them.
func TestOwnAddress(t *testing.T) {
	t.Parallel()
	all, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range all {
		own := netip.MustParsePrefix(a.String()).Addr()
		if !isOwn(own) || own.Is4() && !isOwn(netip.AddrFrom16(own.As16())) {
			t.Errorf("%s is not this machine's", own)
		}
	}
	if isOwn(netip.MustParseAddr("192.0.2.1")) || isOwn(netip.MustParseAddr("2001:db8::1")) {
		t.Error("another machine's address is this one's")
	}
}

// elsewhere is a connection that says it goes to another address.
type elsewhere struct {
	net.Conn
	at net.Addr
}

func (e elsewhere) RemoteAddr() net.Addr { return e.at }

// internet is a server at many addresses, which redirects from each to the address in
// the path.
type internet struct {
	server *httptest.Server

	mu    sync.Mutex
	asked []string // hosts, in order
	refer []string
}

func newInternet(t *testing.T) (*internet, *http.Client) {
	t.Helper()
	n := &internet{}
	n.server = httptest.NewServer(n)
	t.Cleanup(n.server.Close)
	own := func(a netip.Addr) bool {
		return a == netip.MustParseAddr("198.51.100.7") || a == netip.MustParseAddr("10.9.9.9")
	}
	c := newClient(&http.Transport{DialContext: n.dial}, own)
	t.Cleanup(c.CloseIdleConnections)
	return n, c
}

func (n *internet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, n.server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	host := map[string]string{"public.test:80": "203.0.113.5:80", "rebound.test:80": "127.0.0.1:80"}[address]
	if host == "" {
		host = address
	}
	return elsewhere{c, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(host))}, nil
}

func (n *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, r.Host)
	n.refer = append(n.refer, r.Referer())
	next, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if next == "disk" {
		w.Header().Set("Content-Range", "bytes 0-0/1000")
		w.WriteHeader(http.StatusPartialContent)
		return
	}
	http.Redirect(w, r, "http://"+next+"/"+rest, http.StatusFound)
}

// TestRedirects goes through redirects from and to all sorts of addresses: none leads
// from a wider network into a narrower one. SYSTEMS 5.10.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for path, refused := range map[string]bool{
		"public.test/8.8.8.8/disk":           false,
		"public.test/10.0.0.5/disk":          true,
		"public.test/127.0.0.1/disk":         true,
		"public.test/[::1]/disk":             true,
		"public.test/169.254.169.254/disk":   true,
		"public.test/rebound.test/disk":      true, // the name is not the address
		"public.test/8.8.8.8/127.0.0.1/disk": true,
		"10.0.0.5/192.168.1.1/disk":          false,
		"10.0.0.5/8.8.8.8/disk":              false,
		"10.0.0.5/8.8.8.8/192.168.1.1/disk":  true,
		"10.0.0.5/127.0.0.1/disk":            true,
		"10.0.0.5/169.254.169.254/disk":      true,
		"127.0.0.1/10.0.0.5/disk":            false,
		"127.0.0.1/127.0.0.2/disk":           false,
		"public.test/198.51.100.7/disk":      true, // this machine's own address, though a public one
		"10.0.0.5/10.9.9.9/disk":             true,
		"198.51.100.7/127.0.0.1/disk":        false,
	} {
		t.Run(strings.ReplaceAll(path, "/", "→"), func(t *testing.T) {
			t.Parallel()
			n, c := newInternet(t)
			hops := strings.Split(path, "/")
			last := hops[len(hops)-2]
			_, err := Open(t.Context(), c, "http://"+last+"/disk") // now there is a connection that could be used again
			must(t, err)
			n.asked = nil
			_, err = Open(t.Context(), c, "http://"+path)
			if refused && (!droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "give that address itself")) || !refused && err != nil {
				t.Errorf("error %v", err)
			}
			if asked := n.asked[len(n.asked)-1] == last; asked == refused {
				t.Errorf("asked were %q", n.asked)
			}
		})
	}
}

// TestNoReferer follows a link that was signed: nobody else learns the signature.
func TestNoReferer(t *testing.T) {
	t.Parallel()
	n, c := newInternet(t)
	_, err := Open(t.Context(), c, "http://127.0.0.1/127.0.0.2/127.0.0.3/disk?X-Signature=secret")
	must(t, err)
	if got := strings.Join(n.refer, ""); len(n.refer) != 3 || got != "" {
		t.Errorf("referers %q", n.refer)
	}
}
