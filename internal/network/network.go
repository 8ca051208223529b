// Package network makes machine networks on a host: for each of them a bridge,
// a VXLAN (RFC 7348) to the other hosts, and the tap devices of the machines.
//
// It works in the network namespace of the calling thread, keeps no state
// beside what the kernel holds, and touches only links named dw-<VNI> and
// dwx-<VNI>, their sysctls, and taps that it was asked for. It also writes the
// seed disk that tells a guest its addresses and keys.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/droveway/droveway"
	"github.com/vishvananda/netlink"
)

// Port is the UDP port that IANA gave to VXLAN.
const Port = 4789

// overhead is what VXLAN adds to a machine's packet, in bytes: IP, UDP and VXLAN
// headers outside, and the Ethernet header inside, which an MTU does not count.
func (m *Manager) overhead() int {
	ip := 20
	if m.address.Is6() {
		ip = 40
	}
	return ip + 8 + 8 + 14
}

// Config says where a Manager works.
type Config struct {
	Address netip.Addr // this host's address in the network between hosts
	Log     *slog.Logger
}

// Manager makes and removes machine networks on one host. Its methods may be
// called at the same time.
type Manager struct {
	address netip.Addr
	log     *slog.Logger
	mu      sync.Mutex // one change of links at a time: machines of a network may start together
}

// New makes a Manager; it touches nothing yet.
func New(c Config) *Manager {
	return &Manager{address: c.Address, log: c.Log}
}

// BridgeName is the name of the bridge of a network.
func BridgeName(vni uint32) string { return fmt.Sprintf("dw-%d", vni) }

func tunnelName(vni uint32) string { return fmt.Sprintf("dwx-%d", vni) }

// Ensure makes a network here, or brings what is there into line: the bridge,
// the VXLAN, and a flood entry for each of the other hosts. It may be repeated
// at any time; frames keep flowing meanwhile.
func (m *Manager) Ensure(_ context.Context, n droveway.Network, peers []netip.Addr) error {
	if err := n.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	mtu, err := m.MTU()
	if err != nil {
		return err
	}
	bridge, err := m.ensureBridge(n.VNI, mtu)
	if err != nil {
		return fmt.Errorf("bridge of network %s: %w", n.Name, err)
	}
	tunnel, err := m.ensureTunnel(n.VNI, mtu, bridge)
	if err != nil {
		return fmt.Errorf("VXLAN of network %s: %w", n.Name, err)
	}
	if err := m.syncPeers(tunnel, peers); err != nil {
		return fmt.Errorf("peers of network %s: %w", n.Name, err)
	}
	return nil
}

// MTU is the largest packet, in bytes, that a machine may send so that it
// crosses between hosts in one piece.
func (m *Manager) MTU() (int, error) {
	addrs, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return 0, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if !a.IP.Equal(net.IP(m.address.AsSlice())) {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("find link of %s: %w", m.address, err)
		}
		return link.Attrs().MTU - m.overhead(), nil
	}
	return 0, droveway.Errorf(droveway.Invalid, "address %s is on no link of this host: give --address one that it has", m.address)
}

// maxDumps bounds how often a list is asked for that changes all the time.
const maxDumps = 20

// steady asks the kernel for a list until nothing changed while it answered.
func steady[T any](dump func() ([]T, error)) (list []T, err error) {
	for range maxDumps {
		if list, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// Remove takes a network away from this host. It does nothing if the network is
// not here. The taps of running machines lose their bridge.
func (m *Manager) Remove(_ context.Context, vni uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range []string{tunnelName(vni), BridgeName(vni)} {
		link, err := netlink.LinkByName(name)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove link %s: %w", name, err)
		}
	}
	return nil
}

func isAbsent(err error) bool {
	_, absent := errors.AsType[netlink.LinkNotFoundError](err)
	return absent
}
