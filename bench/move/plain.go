package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/scene"
)

// Where a plain guest is on the machine network, far from the addresses that
// Droveway gives away first.
var plainAddress = netip.MustParsePrefix("10.20.255.10/16")

const (
	plainMAC  = "52:54:00:0b:e0:01"
	plainName = "bench"
	diskFile  = "disk.raw"
	seedFile  = "seed.iso"
)

// plain is a guest that is not Droveway's. The modes that are not Droveway's
// share it: whichever ran it last left its disk on one host, and the next takes
// it to the other.
type plain struct {
	watch   *scene.Watch
	sizeMiB int64
	at, to  site
}

// plainGuest makes the guest of a size, the first time.
func (b *bed) plainGuest(ctx context.Context, size int64) (*plain, error) {
	if g, ok := b.plain[size]; ok {
		return g, nil
	}
	image, err := b.images.get(ctx, size)
	if err != nil {
		return nil, err
	}
	g := &plain{sizeMiB: size, at: b.hosts[0], to: b.hosts[1]}
	if g.watch, err = b.scene.Watch(fmt.Sprintf("%s-%d", plainName, size)); err != nil {
		return nil, err
	}
	b.plain[size] = g
	if err := copyDisk(image, g.disk(g.at)); err != nil {
		return nil, errors.Join(err, b.forget(g))
	}
	return g, nil
}

// prepare makes what a guest needs before it starts: on both hosts a network and
// its seed, where it goes a blank disk, which who uses virsh makes with a volume
// tool, and a client.
func (b *bed) prepare(ctx context.Context, g *plain) error {
	if err := b.ensureNetwork(ctx); err != nil {
		return err
	}
	for _, s := range b.hosts {
		if err := g.writeSeed(s.path(seedFile)); err != nil {
			return err
		}
	}
	g.watch.Ask(plainAddress.Addr())
	return blankDisk(g.disk(g.to), g.sizeMiB)
}

func (g *plain) disk(s site) string { return s.path(fmt.Sprintf("%d-%s", g.sizeMiB, diskFile)) }

// check holds the disk where the guest went against what was noted; nothing runs
// it any more. That is where it is from now on.
func (g *plain) check(ctx context.Context) (check.Result, error) {
	found, err := check.Tiny(ctx, g.disk(g.to), droveway.Raw, g.watch.Observer.Summary())
	if err != nil {
		return found, err
	}
	if err := os.Remove(g.disk(g.at)); err != nil {
		return found, fmt.Errorf("clear the disk of %s: %w", g.at.name, err)
	}
	g.at, g.to = g.to, g.at
	return found, nil
}

// forget removes a guest that nothing runs any more: the next trial makes it
// anew.
func (b *bed) forget(g *plain) error {
	delete(b.plain, g.sizeMiB)
	err := g.watch.Close()
	for _, s := range b.hosts {
		if failed := os.Remove(g.disk(s)); !errors.Is(failed, os.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}
