package daemon

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
)

// reachable gives the names and addresses under which others reach a listener:
// those the operator gave, else the one it listens on, else, if it listens on
// all, those of the machine, loopback last.
func reachable(advertise []string, listen string) ([]string, error) {
	if len(advertise) > 0 {
		return advertise, nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "address %q: give host:port: %w", listen, err)
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return []string{host}, nil
	}
	return ownAddresses()
}

func ownAddresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "list the addresses of this machine: %w", err)
	}
	var out []string
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().IsGlobalUnicast() {
			out = append(out, p.Addr().String())
		}
	}
	return append(out, "127.0.0.1"), nil
}

// serverName is the server's in its certificate, whatever its addresses are.
const serverName = "droveway-server"

// certificate makes the certificate of the API, anew at every start: addresses
// may have changed. This machine can always use its loopback names.
func certificate(authority *pki.Authority, names []string) (tls.Certificate, error) {
	names = append([]string{"localhost", "127.0.0.1", "::1"}, names...)
	if h, err := os.Hostname(); err == nil {
		names = append(names, h)
	}
	cert, key, err := authority.Issue(serverName, names)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, droveway.Errorf(droveway.Internal, "use the certificate of the API: %w", err)
	}
	return pair, nil
}

// besides gives the address of a port next to another, on the same host.
func besides(listen, port string) (string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", droveway.Errorf(droveway.Invalid, "address %q: give host:port: %w", listen, err)
	}
	return net.JoinHostPort(host, port), nil
}

// ownName is the default name of a host: that of the machine, without its
// domain.
func ownName() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	short, _, _ := strings.Cut(strings.ToLower(h), ".")
	return short
}

// ownAddress is the default address of a host: the one from which it would
// reach the server.
func ownAddress(server string) (netip.Addr, error) {
	conn, err := net.Dial("udp", server) // sends nothing
	if err != nil {
		return netip.Addr{}, droveway.Errorf(droveway.Unavailable, "find the address of this host: %w: give --address", err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}
