package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/droveway/droveway/internal/network"
	"github.com/vishvananda/netlink"
)

// setAddresses gives the network cards the addresses that the seed names for
// their MACs.
func setAddresses(config []byte) error {
	var c network.NetworkConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return fmt.Errorf("seed: %s: %w", networkFile, err)
	}
	if err := raise("lo"); err != nil {
		return err
	}
	for _, e := range c.Ethernets {
		if err := setAddress(e); err != nil {
			return fmt.Errorf("network card %s: %w", e.Match.MACAddress, err)
		}
	}
	return nil
}

func raise(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

func setAddress(e network.Ethernet) error {
	link, err := linkByMAC(e.Match.MACAddress)
	if err != nil {
		return err
	}
	if e.MTU > 0 {
		if err := netlink.LinkSetMTU(link, e.MTU); err != nil {
			return fmt.Errorf("set MTU: %w", err)
		}
	}
	for _, text := range e.Addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("address %q: %w", text, err)
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add address %s: %w", text, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if e.Gateway4 == "" {
		return nil
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(e.Gateway4)}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("route by %s: %w", e.Gateway4, err)
	}
	return nil
}

// linkByMAC waits until the kernel has found the card.
func linkByMAC(mac string) (netlink.Link, error) {
	for end := time.Now().Add(deviceTime); time.Now().Before(end); time.Sleep(devicePoll) {
		cards, err := net.Interfaces()
		if err != nil {
			return nil, fmt.Errorf("list network cards: %w", err)
		}
		for _, c := range cards {
			if strings.EqualFold(c.HardwareAddr.String(), mac) {
				return netlink.LinkByIndex(c.Index)
			}
		}
	}
	return nil, fmt.Errorf("not found in %v", deviceTime)
}
