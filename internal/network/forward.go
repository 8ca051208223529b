package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// Forward sends on what comes for a machine that has left this host: the frames
// that wait in its tap, which it did not read any more, and those that other hosts
// still bring here. They would be lost otherwise, and a client that had one of them
// under way would wait for the timeout of its TCP, 200 ms and more.
//
// It waits until the machine is announced from another host, where its tap takes
// the frames, and goes on until ctx ends or the tap is closed. It closes the tap.
func (m *Manager) Forward(ctx context.Context, vni uint32, address string, tap *os.File) error {
	defer tap.Close()
	defer context.AfterFunc(ctx, func() { tap.Close() })()
	mac, err := net.ParseMAC(address)
	if err != nil || len(mac) != 6 {
		return droveway.Errorf(droveway.Invalid, "forward to %q: give an Ethernet address", address)
	}
	bridge, err := netlink.LinkByName(BridgeName(vni))
	if err != nil {
		return fmt.Errorf("forward to %s: find bridge of VNI %d: %w", mac, vni, err)
	}
	tunnel, err := netlink.LinkByName(tunnelName(vni))
	if err != nil {
		return fmt.Errorf("forward to %s: find VXLAN of VNI %d: %w", mac, vni, err)
	}
	if err := announced(ctx, bridge.Attrs().Index, mac); err != nil {
		return err
	}
	if err := pass(tap, tunnel.Attrs().Index, mac); err != nil && ctx.Err() == nil {
		return fmt.Errorf("forward to %s by %s: %w", mac, tunnel.Attrs().Name, err)
	}
	return nil
}

// announced waits for a broadcast ARP frame of a machine to come in by a bridge. Its
// ports would not show one: the bridge takes it before.
func announced(ctx context.Context, bridge int, mac net.HardwareAddr) error {
	fd, err := listenARP(bridge)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 128)
	for ctx.Err() == nil {
		n, err := unix.Read(fd, buf)
		if err == nil && n >= ethernetHeader && bytes.Equal(buf[6:12], mac) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("listen for the announcement of %s: %w", mac, err)
		}
	}
	return ctx.Err()
}

const (
	ethernetHeader = 14
	// vnetHeaderSize is that of a virtio_net_hdr (linux/virtio_net.h), with which
	// a frame can be larger than the MTU and lack its checksum.
	vnetHeaderSize = 10
	maxFrame       = 64<<10 + ethernetHeader
)

// pass reads the frames for a machine from its tap and sends them out of a link,
// until the tap is closed. What else a tap gets, the whole network got.
func pass(tap *os.File, link int, mac net.HardwareAddr) error {
	header, err := headerSize(tap)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	buf := make([]byte, header+maxFrame)
	for {
		n, err := tap.Read(buf)
		if err != nil {
			return err
		}
		frame := buf[min(n, header):n]
		if len(frame) < ethernetHeader || !bytes.Equal(frame[:6], mac) {
			continue
		}
		out := buf[header-vnetHeaderSize : n]
		copy(out, buf[:vnetHeaderSize])
		// One that the kernel refuses is lost, as on any network.
		_ = unix.Sendto(fd, out, 0, &unix.SockaddrLinklayer{Ifindex: link})
	}
}

// headerSize is what stands before each frame of a tap, in bytes.
func headerSize(tap *os.File) (size int, err error) {
	conn, err := tap.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := conn.Control(func(fd uintptr) { size, err = unix.IoctlGetInt(int(fd), unix.TUNGETVNETHDRSZ) })
	if err := errors.Join(cerr, err); err != nil {
		return 0, fmt.Errorf("header of the tap: %w", err)
	}
	if size < vnetHeaderSize || size > 64 {
		return 0, droveway.Errorf(droveway.Internal, "the tap has a header of %d bytes", size)
	}
	return size, nil
}
