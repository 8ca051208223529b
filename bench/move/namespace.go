package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/droveway/droveway/internal/network"
)

// ensureNetwork makes the machine network on both hosts, as Droveway does for its
// own machines.
func (b *bed) ensureNetwork(ctx context.Context) error {
	peers := []netip.Addr{b.from.address, b.to.address, b.client}
	for _, s := range []site{b.from, b.to} {
		err := within(s.namespace, func() error { return b.fabric(s).Ensure(ctx, b.network, peers) })
		if err != nil {
			return fmt.Errorf("machine network on host %s: %w", s.name, err)
		}
	}
	return nil
}

// ownAddress is where the client of the lab is in the network between hosts.
func (b *bed) ownAddress() (addr netip.Addr, err error) {
	err = within(b.lab.ClientNS(), func() error {
		all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
		if err != nil {
			return fmt.Errorf("list the client's addresses: %w", err)
		}
		for _, a := range all {
			if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && !ip.IsLoopback() {
				addr = ip
			}
		}
		return nil
	})
	return addr, err
}

// tap makes a tap device on a host's part of the machine network.
func (b *bed) tap(ctx context.Context, s site, name string) (f *os.File, err error) {
	err = within(s.namespace, func() error {
		f, err = b.fabric(s).TAP(ctx, b.network.VNI, name)
		return err
	})
	return f, err
}

func (b *bed) fabric(s site) *network.Manager {
	return network.New(network.Config{Address: s.address, Log: b.log})
}

// within runs f on a thread that is in a network namespace. The thread is not
// used again.
func within(namespace string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // until the goroutine ends, and the thread with it
		ns, err := netns.GetFromName(namespace)
		if err != nil {
			done <- fmt.Errorf("open network namespace %s: %w", namespace, err)
			return
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", namespace, err)
			return
		}
		done <- f()
	}()
	return <-done
}
