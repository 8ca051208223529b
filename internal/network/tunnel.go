package network

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// floodMAC stands in the forwarding table of a VXLAN for every destination that
// is not known yet, broadcast among them.
var floodMAC = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// ensureTunnel makes the VXLAN as a port of the bridge. One that was made for
// another address is made anew.
func (m *Manager) ensureTunnel(vni uint32, mtu int, bridge netlink.Link) (netlink.Link, error) {
	link, err := netlink.LinkByName(tunnelName(vni))
	switch {
	case isAbsent(err):
		link, err = m.addTunnel(vni)
	case err == nil && !m.fits(link, vni):
		if err = netlink.LinkDel(link); err == nil {
			link, err = m.addTunnel(vni)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := setMTU(link, mtu); err != nil {
		return nil, err
	}
	return link, plug(link, bridge)
}

func (m *Manager) fits(link netlink.Link, vni uint32) bool {
	v, ok := link.(*netlink.Vxlan)
	return ok && v.VxlanId == int(vni) && v.Port == Port && v.Learning && v.SrcAddr.Equal(net.IP(m.address.AsSlice()))
}

func (m *Manager) addTunnel(vni uint32) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = tunnelName(vni)
	tunnel := &netlink.Vxlan{
		LinkAttrs: attrs,
		VxlanId:   int(vni),
		SrcAddr:   net.IP(m.address.AsSlice()),
		Port:      Port,
		Learning:  true,
	}
	if err := netlink.LinkAdd(tunnel); err != nil {
		return nil, fmt.Errorf("add VXLAN %s: %w", attrs.Name, err)
	}
	return netlink.LinkByName(attrs.Name)
}

// plug makes a link a port of a bridge and sets it up.
func plug(link, bridge netlink.Link) error {
	if link.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return fmt.Errorf("make %s a port of %s: %w", link.Attrs().Name, bridge.Attrs().Name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", link.Attrs().Name, err)
	}
	return nil
}

// syncPeers makes the forwarding table flood to exactly these hosts, and forgets
// what was learned from hosts that are peers no more.
func (m *Manager) syncPeers(tunnel netlink.Link, peers []netip.Addr) error {
	known, err := forwarding(tunnel)
	if err != nil {
		return err
	}
	flooded := map[netip.Addr]bool{m.address: true}
	for _, e := range known {
		peer, ok := netip.AddrFromSlice(e.IP)
		peer = peer.Unmap()
		switch {
		case !ok:
		case !slices.Contains(peers, peer):
			if err := netlink.NeighDel(&e); err != nil {
				return fmt.Errorf("forget host %s: %w", peer, err)
			}
		case bytes.Equal(e.HardwareAddr, floodMAC):
			flooded[peer] = true
		}
	}
	return m.addPeers(tunnel, peers, flooded)
}

func (m *Manager) addPeers(tunnel netlink.Link, peers []netip.Addr, flooded map[netip.Addr]bool) error {
	for _, peer := range peers {
		if flooded[peer] {
			continue
		}
		flooded[peer] = true
		if err := netlink.NeighAppend(floodEntry(tunnel, peer)); err != nil {
			return fmt.Errorf("add host %s: %w", peer, err)
		}
		m.log.Debug("network reaches a host", "link", tunnel.Attrs().Name, "peer", peer.String())
	}
	return nil
}

func floodEntry(tunnel netlink.Link, peer netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    tunnel.Attrs().Index,
		Family:       unix.AF_BRIDGE,
		State:        netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		Flags:        netlink.NTF_SELF,
		IP:           net.IP(peer.AsSlice()),
		HardwareAddr: floodMAC,
	}
}

// forwarding lists the link's own forwarding table: where a VXLAN sends to.
func forwarding(link netlink.Link) ([]netlink.Neigh, error) {
	all, err := entries(link)
	return slices.DeleteFunc(all, func(n netlink.Neigh) bool { return n.Flags&netlink.NTF_SELF == 0 }), err
}

// entries lists what the link and its bridge know of who is behind it.
func entries(link netlink.Link) ([]netlink.Neigh, error) {
	all, err := steady(func() ([]netlink.Neigh, error) { return netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("list forwarding table of %s: %w", link.Attrs().Name, err)
	}
	return all, nil
}
