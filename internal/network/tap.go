package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/droveway/droveway"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// TAP makes a tap device as a port of a network's bridge and returns its
// descriptor, with virtio-net headers on. The device lives as long as somebody
// holds the descriptor open, so it goes with the instance that got it.
func (m *Manager) TAP(_ context.Context, vni uint32, name string) (*os.File, error) {
	bridge, err := netlink.LinkByName(BridgeName(vni))
	if isAbsent(err) {
		return nil, droveway.Errorf(droveway.NotFound, "tap %s: VNI %d has no bridge on this host: ensure its network first", name, vni)
	}
	if err != nil {
		return nil, fmt.Errorf("find bridge of VNI %d: %w", vni, err)
	}
	tap, err := openTAP(name)
	if err != nil {
		return nil, err
	}
	if err := plugTAP(name, bridge); err != nil {
		return nil, errors.Join(err, tap.Close())
	}
	return tap, nil
}

func openTAP(name string) (*os.File, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "tap name %q: use at most %d characters", name, unix.IFNAMSIZ-1)
	}
	// The descriptor blocks: a poller cannot take a tun file before its device
	// is set, and the hypervisor makes it non-blocking itself.
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunPath, err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		kind := droveway.Internal
		if errors.Is(err, unix.EBUSY) {
			kind = droveway.Conflict
		}
		return nil, errors.Join(droveway.Errorf(kind, "make tap %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), tunPath), nil
}

func plugTAP(name string, bridge netlink.Link) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find tap %s: %w", name, err)
	}
	if err := setMTU(link, bridge.Attrs().MTU); err != nil {
		return err
	}
	return plug(link, bridge)
}
