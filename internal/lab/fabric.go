package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/network"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	switchName = "switch"
	memberLink = "eth0"
	// underlayMTU leaves room for VXLAN around the 1500 bytes of a guest.
	underlayMTU = 1550
)

// build makes the namespaces and the links between them.
//
//	net: switch ── server, client, host-a, … ── eth0 of each, 10.99.0.x
//	        └───── dwl-<id> of the machine itself (Uplink)
func (p plan) build() error {
	if err := addNamespace(p.namespace(fabricName)); err != nil {
		return err
	}
	if err := inside(p.namespace(fabricName), addSwitch); err != nil {
		return err
	}
	for _, m := range p.members() {
		if err := p.attach(m); err != nil {
			return fmt.Errorf("link of %s: %w", m.Name, err)
		}
	}
	for _, h := range p.Hosts {
		if err := p.limit(h); err != nil {
			return fmt.Errorf("link rate of %s: %w", h.Name, err)
		}
	}
	if p.Uplink {
		return p.attachMachine()
	}
	return nil
}

func addSwitch() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = switchName, underlayMTU
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge %s: %w", switchName, err)
	}
	if err := network.Unfiltered(); err != nil {
		return err
	}
	return setUp(switchName)
}

// attach makes a member's namespace and plugs it into the switch.
func (p plan) attach(m member) error {
	name := p.namespace(m.Name)
	if err := addNamespace(name); err != nil {
		return err
	}
	ns, err := netns.GetFromName(name)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", name, err)
	}
	defer ns.Close()
	err = inside(p.namespace(fabricName), func() error { return addPort(m.Name, memberLink, ns) })
	if err != nil {
		return err
	}
	return inside(name, func() error { return address(memberLink, m.Address, p.Subnet) })
}

// attachMachine plugs the namespace that we are in into the switch.
func (p plan) attachMachine() error {
	taken, err := hasAddress(uplinkAddress)
	if err != nil {
		return err
	}
	if taken {
		return droveway.Errorf(droveway.Conflict, "another lab has the uplink: take it down, or go without")
	}
	ns, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find own network namespace: %w", err)
	}
	defer ns.Close()
	err = inside(p.namespace(fabricName), func() error { return addPort("uplink", prefix(p.ID), ns) })
	if err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	return address(prefix(p.ID), uplinkAddress, p.Subnet)
}

// addPort makes a link from the switch into another namespace.
func addPort(port, far string, ns netns.NsHandle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = port, underlayMTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: far, PeerMTU: underlayMTU, PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link %s: %w", port, err)
	}
	sw, err := netlink.LinkByName(switchName)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", switchName, err)
	}
	if err := netlink.LinkSetMaster(veth, sw); err != nil {
		return fmt.Errorf("plug %s into %s: %w", port, switchName, err)
	}
	return setUp(port)
}

func address(link string, addr netip.Addr, subnet netip.Prefix) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	a, err := netlink.ParseAddr(netip.PrefixFrom(addr, subnet.Bits()).String())
	if err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	if err := netlink.AddrReplace(l, a); err != nil {
		return fmt.Errorf("give %s the address %s: %w", link, addr, err)
	}
	return setUp(link)
}

func hasAddress(addr netip.Addr) (bool, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list addresses: %w", err)
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == addr
	}), nil
}

func setUp(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set link %s up: %w", link, err)
	}
	return nil
}

// limit bounds what a host's link carries, each way, with a token bucket.
func (p plan) limit(h member) error {
	if p.LinkRate == 0 {
		return nil
	}
	out := inside(p.namespace(h.Name), func() error { return shape(memberLink, p.LinkRate) })
	return errors.Join(out, inside(p.namespace(fabricName), func() error { return shape(h.Name, p.LinkRate) }))
}

// A bucket must hold the largest packet that the kernel hands over at once, and
// what flows between two ticks of a slow clock.
const (
	minBurst = 128 << 10 // bytes
	tick     = 100       // Hz
	maxDelay = 10        // a second has as many of what may wait in the queue
)

func shape(link string, bits int64) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	rate := uint64(bits) / 8
	burst := max(minBurst, rate/tick)
	bucket := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate,
		Buffer:     netlink.Xmittime(rate, uint32(burst)),
		Limit:      uint32(burst + rate/maxDelay),
	}
	err = netlink.QdiscReplace(bucket)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return droveway.Missing("tbf", "this kernel has no token bucket filter (sch_tbf): go without a link rate")
	}
	if err != nil {
		return fmt.Errorf("bound %s to %d bits a second: %w", link, bits, err)
	}
	return nil
}

// CutLink takes a host off the network, as if its cable were pulled.
func (l *Lab) CutLink(host string) error {
	return l.atPort(host, func(port netlink.Link) error { return netlink.LinkSetDown(port) })
}

// MendLink puts the cable back.
func (l *Lab) MendLink(host string) error {
	return l.atPort(host, func(port netlink.Link) error { return netlink.LinkSetUp(port) })
}

func (l *Lab) atPort(host string, f func(netlink.Link) error) error {
	if _, err := l.plan.host(host); err != nil {
		return err
	}
	return inside(l.plan.namespace(fabricName), func() error {
		port, err := netlink.LinkByName(host)
		if err == nil {
			err = f(port)
		}
		if err != nil {
			return fmt.Errorf("link of %s: %w", host, err)
		}
		return nil
	})
}

// JoinNetwork makes the client a member of a machine network, with an address
// in it, so that it meets guests as they meet each other.
func (l *Lab) JoinNetwork(ctx context.Context, n droveway.Network, addr netip.Prefix) error {
	peers := make([]netip.Addr, len(l.plan.Hosts))
	for i, h := range l.plan.Hosts {
		peers[i] = h.Address
	}
	m := network.New(network.Config{Address: clientMember.Address, Log: l.log})
	return inside(l.ClientNS(), func() error {
		if err := m.Ensure(ctx, n, peers); err != nil {
			return err
		}
		return address(network.BridgeName(n.VNI), addr.Addr(), addr)
	})
}
