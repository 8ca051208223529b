package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/droveway/droveway"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Announce tells a network that a machine is on this host now: what the local
// tables learned of its old place is forgotten, and a gratuitous ARP request
// and reply (RFC 826, RFC 5227) with the machine's address go out of the bridge,
// so that every other host learns the new place from the frame itself.
func (m *Manager) Announce(_ context.Context, vni uint32, address string, addr netip.Addr) error {
	mac, err := net.ParseMAC(address)
	if err != nil || len(mac) != 6 || !addr.Is4() {
		return droveway.Errorf(droveway.Invalid, "announce %q at %s: give an Ethernet and an IPv4 address", address, addr)
	}
	bridge, err := netlink.LinkByName(BridgeName(vni))
	if isAbsent(err) {
		return droveway.Errorf(droveway.NotFound, "announce %s: VNI %d has no bridge on this host: ensure its network first", mac, vni)
	}
	if err != nil {
		return fmt.Errorf("find bridge of VNI %d: %w", vni, err)
	}
	if err := forget(vni, mac); err != nil {
		return fmt.Errorf("announce %s: %w", mac, err)
	}
	if err := send(bridge.Attrs().Index, arp(arpRequest, mac, addr), arp(arpReply, mac, addr)); err != nil {
		return fmt.Errorf("announce %s on %s: %w", mac, bridge.Attrs().Name, err)
	}
	return nil
}

// forget drops what bridge and VXLAN learned of a MAC behind the VXLAN. Until
// the machine speaks its frames are flooded, and so reach it here.
func forget(vni uint32, mac net.HardwareAddr) error {
	tunnel, err := netlink.LinkByName(tunnelName(vni))
	if err != nil {
		return fmt.Errorf("find VXLAN of VNI %d: %w", vni, err)
	}
	ofBridge := netlink.Neigh{LinkIndex: tunnel.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, HardwareAddr: mac}
	ofVXLAN := ofBridge
	ofVXLAN.Flags, ofVXLAN.IP = netlink.NTF_SELF, anyHost
	for _, e := range []netlink.Neigh{ofBridge, ofVXLAN} {
		if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("forget %s on %s: %w", mac, tunnel.Attrs().Name, err)
		}
	}
	return nil
}

// anyHost makes the kernel forget an address whatever host it is at. Addresses of
// either family do.
var anyHost = net.IPv4zero

const (
	arpRequest = 1
	arpReply   = 2
)

// arp makes the Ethernet frame of a gratuitous ARP: the machine speaks of itself
// to everybody.
func arp(operation uint16, mac net.HardwareAddr, addr netip.Addr) []byte {
	broadcast := bytes.Repeat([]byte{0xff}, 6)
	var f []byte
	f = append(append(f, broadcast...), mac...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, lengths of their addresses
	f = binary.BigEndian.AppendUint16(f, operation)
	f = append(append(f, mac...), addr.AsSlice()...)
	return append(append(f, broadcast...), addr.AsSlice()...)
}

func send(link int, frames ...[]byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: link}); err != nil {
			return fmt.Errorf("send frame: %w", err)
		}
	}
	return nil
}
