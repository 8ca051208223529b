package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/droveway/droveway/internal/network"
)

// ensureNetwork makes the machine network on both hosts, as Droveway does for its
// own machines.
func (b *bed) ensureNetwork(ctx context.Context) error {
	peers := []netip.Addr{b.hosts[0].address, b.hosts[1].address, b.scene.Lab.ClientAddress()}
	for _, s := range b.hosts {
		err := b.scene.Lab.Inside(s.namespace, func() error { return b.fabric(s).Ensure(ctx, b.network, peers) })
		if err != nil {
			return fmt.Errorf("machine network on host %s: %w", s.name, err)
		}
	}
	return nil
}

// tap makes a tap device on a host's part of the machine network.
func (b *bed) tap(ctx context.Context, s site, name string) (f *os.File, err error) {
	err = b.scene.Lab.Inside(s.namespace, func() error {
		f, err = b.fabric(s).TAP(ctx, b.network.VNI, name)
		return err
	})
	return f, err
}

func (b *bed) fabric(s site) *network.Manager {
	return network.New(network.Config{Address: s.address, Log: b.log})
}
