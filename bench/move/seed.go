package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway/internal/lab/workload"
	"github.com/droveway/droveway/internal/network"
)

// betweenRecords is how many milliseconds a guest waits between two records.
const betweenRecords = 5

// writeSeed writes the disk that tells the guest its address and what to do,
// with the contents that Droveway gives its machines.
func (g *plain) writeSeed(path string) error {
	user, err := workload.Config{Observer: g.watch.Address(), DelayMS: betweenRecords}.UserData()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	err = network.Seed(f, network.SeedConfig{
		Machine: plainName, InstanceID: plainName, UserData: user,
		NICs: []network.SeedNIC{{MAC: plainMAC, Address: plainAddress}},
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

// chill has everything written out, earlier guests' disks too, and takes a disk
// out of the kernel's cache: so no mode has to bear, or finds there, what another
// one left.
func chill(path string) error {
	unix.Sync()
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("take disk out of the cache: %w", err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("take disk %s out of the cache: %w", path, err)
	}
	return nil
}
