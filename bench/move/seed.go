package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/droveway/droveway/internal/network"
)

// writeSeed writes the disk that tells the guest its address and what to do,
// with the contents that Droveway gives its machines.
func writeSeed(path string, g guest) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	err = network.Seed(f, network.SeedConfig{
		Machine: machineName, InstanceID: machineName, UserData: g.userData,
		NICs: []network.SeedNIC{{MAC: guestMAC, Address: guestAddress}},
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	return nil
}

// copyDisk gives a guest a disk of its own, whole on disk before it starts.
func copyDisk(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	_, err = out.ReadFrom(in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	return nil
}

// blankDisk makes a disk without content.
func blankDisk(path string, mib int64) error {
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(mib<<20), f.Close())
	}
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return nil
}
