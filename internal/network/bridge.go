package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// ensureBridge makes the bridge and shuts the host off from it.
func (m *Manager) ensureBridge(vni uint32, mtu int) (netlink.Link, error) {
	name := BridgeName(vni)
	link, err := netlink.LinkByName(name)
	if isAbsent(err) {
		link, err = m.addBridge(name)
	}
	if err != nil {
		return nil, err
	}
	if err := isolate(name); err != nil {
		return nil, err
	}
	// A bridge that was told its MTU keeps it, whatever its ports have.
	if err := setMTU(link, mtu); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set %s up: %w", name, err)
	}
	return link, nil
}

func (m *Manager) addBridge(name string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	// A fixed address: left alone, a bridge changes its own with every port.
	attrs.HardwareAddr = m.hardwareAddr()
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add bridge %s: %w", name, err)
	}
	return netlink.LinkByName(name)
}

// hardwareAddr is a locally administered address that differs on every host of
// an underlay.
func (m *Manager) hardwareAddr() net.HardwareAddr {
	a := m.address.AsSlice()
	return append(net.HardwareAddr{0x02, 0xd7}, a[len(a)-4:]...)
}

func setMTU(link netlink.Link, mtu int) error {
	if link.Attrs().MTU == mtu {
		return nil
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", link.Attrs().Name, mtu, err)
	}
	return nil
}

// isolate keeps machines and host apart on the bridge: the host takes no IPv6
// there; strict reverse-path filtering drops all IPv4, for no route leads to a
// bridge without an address; and the host's packet filter does not see what the
// bridge merely passes on.
func isolate(bridge string) error {
	err := set("ipv6/conf/"+bridge+"/disable_ipv6", "1")
	return errors.Join(err, set("ipv4/conf/"+bridge+"/rp_filter", "1"), Unfiltered())
}

// Unfiltered lets the bridges of this network namespace pass on frames past its
// packet filter.
func Unfiltered() error {
	return errors.Join(
		set("bridge/bridge-nf-call-iptables", "0"),
		set("bridge/bridge-nf-call-ip6tables", "0"),
		set("bridge/bridge-nf-call-arptables", "0"),
	)
}

// set sets a network setting. One that is not there belongs to a part that the
// kernel has not got.
func set(setting, value string) error {
	err := os.WriteFile("/proc/sys/net/"+setting, []byte(value), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set net/%s: %w", setting, err)
	}
	return nil
}
