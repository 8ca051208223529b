package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// baseline is a plain way to join ends, for comparison.
type baseline struct {
	name  string
	pairs map[pair]bool
	add   func([]discover.Report, time.Time)
}

// apart is how long after each other two ends may be reported.
const apart = time.Minute

type tuple struct {
	protocol string
	from, to netip.AddrPort
}

type heard struct {
	host string
	at   time.Time
}

// newFiveTuple joins ends that report the same addresses and ports.
func newFiveTuple() *baseline {
	b := &baseline{name: "5-tuple", pairs: map[pair]bool{}}
	outs, ins := map[tuple]heard{}, map[tuple]heard{}
	one := func(host string, c *discover.Connection, now time.Time) {
		if c.Direction == discover.Outbound {
			k := tuple{c.Protocol, c.Local, c.Remote}
			outs[k] = heard{host, now}
			if in, ok := ins[k]; ok && now.Sub(in.at) < apart {
				b.pairs[pair{host, in.host, k.to.Port()}] = true
			}
			return
		}
		k := tuple{c.Protocol, c.Remote, c.Local}
		ins[k] = heard{host, now}
		if out, ok := outs[k]; ok && now.Sub(out.at) < apart {
			b.pairs[pair{out.host, host, k.to.Port()}] = true
		}
	}
	b.add = func(all []discover.Report, now time.Time) {
		for i := range all {
			for k := range all[i].Connections {
				one(all[i].Host, &all[i].Connections[k], now)
			}
		}
	}
	return b
}

// newOwners joins a connection to the hosts that own the address it dials and
// listen on that port, which is what a host's own connection table can tell: no
// host here translates for itself, so the table adds nothing.
func newOwners(addresses func(discover.Report) []netip.Addr) *baseline {
	b := &baseline{name: "host-conntrack", pairs: map[pair]bool{}}
	owners, users := map[netip.AddrPort][]string{}, map[netip.AddrPort][]string{}
	join := func(client, server string, at netip.AddrPort) {
		b.pairs[pair{client, server, at.Port()}] = true
	}
	listens := func(host string, at netip.AddrPort) {
		if slices.Contains(owners[at], host) {
			return
		}
		owners[at] = append(owners[at], host)
		for _, u := range users[at] {
			join(u, host, at)
		}
	}
	dials := func(host string, at netip.AddrPort) {
		if slices.Contains(users[at], host) {
			return
		}
		users[at] = append(users[at], host)
		for _, o := range owners[at] {
			join(host, o, at)
		}
	}
	b.add = func(all []discover.Report, _ time.Time) {
		for _, r := range all {
			for _, l := range r.Listeners {
				for _, a := range addresses(r) {
					if l.Protocol == "tcp" {
						listens(r.Host, netip.AddrPortFrom(a, l.Address.Port()))
					}
				}
			}
			for _, c := range r.Connections {
				if c.Direction == discover.Outbound {
					dials(r.Host, c.Remote)
				}
			}
		}
	}
	return b
}

// reported are the addresses that a host says it has.
func reported(r discover.Report) []netip.Addr { return r.Addresses }

// known are those that the simulation knows.
func (f *fleet) known(r discover.Report) []netip.Addr {
	return []netip.Addr{f.world.Hosts[r.Host].Address}
}
