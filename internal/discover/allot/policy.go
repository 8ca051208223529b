package allot

import (
	"net/netip"
	"slices"

	"github.com/droveway/droveway"
)

// MaxOpens is how many connections the whole fleet opens to one endpoint in any
// second, whatever a policy says.
const MaxOpens = 4

// Policy says where patterns may be emitted. Nothing is emitted without one.
type Policy struct {
	Sites  []string // that opted in; hosts of others emit nothing
	OptOut []Target // that no pattern may reach
	// DenyPorts are denied besides those that are always denied.
	DenyPorts []uint16
	Opens     int // to one endpoint in any second: at most MaxOpens, which is the default
	PerHost   int // patterns of one host at once; 4
}

// Target is addresses of which one port, or with port 0 all, opted out.
type Target struct {
	Prefix netip.Prefix
	Port   uint16
}

// denied are ports where an empty connection does harm: servers that block an
// address after a few (ssh guards, mail servers, MySQL, Oracle, SQL Server) and
// printers, which print it.
var denied = []uint16{22, 25, 465, 587, 1433, 1521, 3306, 9100}

const (
	defaultPerHost = 4
	maxPerHost     = 16
)

// filled checks a policy and fills in its defaults.
func (p Policy) filled() (Policy, error) {
	switch {
	case p.Opens < 0 || p.Opens > MaxOpens:
		return p, droveway.Errorf(droveway.Invalid, "policy allows %d opens a second to an endpoint: 1 to %d", p.Opens, MaxOpens)
	case p.PerHost < 0 || p.PerHost > maxPerHost:
		return p, droveway.Errorf(droveway.Invalid, "policy allows %d patterns of a host at once: 1 to %d", p.PerHost, maxPerHost)
	}
	for _, t := range p.OptOut {
		if !t.Prefix.IsValid() {
			return p, droveway.Errorf(droveway.Invalid, "a target that opted out has no address: give a prefix such as 192.0.2.1/32")
		}
		if t.Prefix.Addr().Is4In6() { // would cover no destination
			return p, droveway.Errorf(droveway.Invalid, "the target %s that opted out is an IPv4 address in IPv6: give it as %s", t.Prefix, t.Prefix.Addr().Unmap())
		}
	}
	if p.Opens == 0 {
		p.Opens = MaxOpens
	}
	if p.PerHost == 0 {
		p.PerHost = defaultPerHost
	}
	return p, nil
}

// forbids says why a candidate may not be probed, or nothing.
func (p Policy) forbids(c Candidate) string {
	port := c.Destination.Port()
	switch {
	case !slices.Contains(p.Sites, c.Site):
		return "its site did not opt in"
	case slices.Contains(denied, port) || slices.Contains(p.DenyPorts, port):
		return "the port is denied"
	case !ordinary(c.Destination.Addr()):
		return "the address is not that of one other host"
	}
	for _, a := range append([]netip.AddrPort{c.Destination}, c.Behind...) {
		if p.optedOut(a) {
			return "the target opted out"
		}
	}
	return ""
}

func (p Policy) optedOut(a netip.AddrPort) bool {
	return slices.ContainsFunc(p.OptOut, func(t Target) bool {
		return t.Prefix.Contains(a.Addr()) && (t.Port == 0 || t.Port == a.Port())
	})
}

func ordinary(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}
