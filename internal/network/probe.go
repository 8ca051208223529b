package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

const (
	probeEvery = 200 * time.Millisecond // between two questions
	probeWait  = 20 * time.Millisecond  // for a frame, before ctx is looked at
)

// Probe asks on a network who has a machine's address, by ARP probes (RFC 5227),
// until the machine with that MAC says that it has, or ctx ends: Unavailable. An
// answer shows that the guest's kernel runs and its network is set up.
func (m *Manager) Probe(ctx context.Context, vni uint32, address string, addr netip.Addr) error {
	mac, err := net.ParseMAC(address)
	if err != nil || len(mac) != 6 || !addr.Is4() {
		return droveway.Errorf(droveway.Invalid, "probe %q at %s: give an Ethernet and an IPv4 address", address, addr)
	}
	bridge, err := netlink.LinkByName(BridgeName(vni))
	if err != nil {
		return droveway.Errorf(droveway.NotFound, "probe %s: VNI %d has no bridge on this host: %w", addr, vni, err)
	}
	fd, err := listenARP(bridge.Attrs().Index)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return ask(ctx, fd, bridge.Attrs(), mac, addr)
}

func listenARP(link int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ARP)))
	if err != nil {
		return 0, fmt.Errorf("open packet socket: %w", err)
	}
	wait := unix.NsecToTimeval(probeWait.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: link})
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("listen for ARP: %w", err)
	}
	return fd, nil
}

// htons gives a number the byte order of the network.
func htons(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

func ask(ctx context.Context, fd int, from *netlink.LinkAttrs, mac net.HardwareAddr, addr netip.Addr) error {
	frame := make([]byte, 128)
	var asked time.Time
	for ctx.Err() == nil {
		if time.Since(asked) >= probeEvery {
			asked = time.Now()
			if err := unix.Sendto(fd, whoHas(from.HardwareAddr, addr), 0, &unix.SockaddrLinklayer{Ifindex: from.Index}); err != nil {
				return fmt.Errorf("ask who has %s: %w", addr, err)
			}
		}
		n, _, err := unix.Recvfrom(fd, frame, 0)
		if err == nil && saysHas(frame[:n], mac, addr) {
			return nil
		}
	}
	return droveway.Errorf(droveway.Unavailable, "nobody says that it has %s: the guest is not up, or its network is not", addr)
}

// whoHas is an ARP probe: a request that claims no address for its sender.
func whoHas(from net.HardwareAddr, addr netip.Addr) []byte {
	var f []byte
	f = append(bytes.Repeat([]byte{0xff}, 6), from...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4)
	f = binary.BigEndian.AppendUint16(f, arpRequest)
	f = append(append(f, from...), 0, 0, 0, 0)
	return append(append(f, make([]byte, 6)...), addr.AsSlice()...)
}

// Where the fields of an ARP frame over Ethernet lie.
const (
	arpOperation = 20
	arpSenderMAC = 22
	arpSenderIP  = 28
	arpLength    = 42
)

// saysHas reports whether a frame is an ARP reply by which a MAC says that it has
// an address.
func saysHas(f []byte, mac net.HardwareAddr, addr netip.Addr) bool {
	return len(f) >= arpLength &&
		binary.BigEndian.Uint16(f[arpOperation:]) == arpReply &&
		bytes.Equal(f[arpSenderMAC:arpSenderMAC+6], mac) &&
		bytes.Equal(f[arpSenderIP:arpSenderIP+4], addr.AsSlice())
}
