package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway/internal/network"
	"github.com/kdomanski/iso9660"
)

const (
	userDataFile = network.SeedUserData
	networkFile  = network.SeedNetworkConfig

	deviceTime = 30 * time.Second // until a disk shows itself
	devicePoll = 20 * time.Millisecond
)

var errNoDisk = errors.New("no such disk")

// findSeed reads the files of the disk that bears the label of a NoCloud seed,
// waiting until the kernel has found it.
func findSeed() (files map[string][]byte, err error) {
	err = eachDisk(func(disk string) (bool, error) {
		files, err = readSeed("/dev/" + disk)
		return err == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("find the seed disk with label %s: %w", network.SeedLabel, err)
	}
	return files, nil
}

// eachDisk shows f every disk, again and again, until f has found the right one.
func eachDisk(f func(disk string) (found bool, err error)) error {
	for end := time.Now().Add(deviceTime); time.Now().Before(end); time.Sleep(devicePoll) {
		disks, err := filepath.Glob("/sys/block/*")
		if err != nil {
			return err
		}
		for _, d := range disks {
			if found, err := f(filepath.Base(d)); found || err != nil {
				return err
			}
		}
	}
	return errNoDisk
}

func readSeed(device string) (map[string][]byte, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	image, err := iso9660.OpenImage(f)
	if err != nil {
		return nil, err
	}
	if label, err := image.Label(); err != nil || !strings.EqualFold(strings.TrimSpace(label), network.SeedLabel) {
		return nil, errNoDisk
	}
	root, err := image.RootDir()
	if err != nil {
		return nil, err
	}
	children, err := root.GetChildren()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, c := range children {
		if files[c.Name()], err = io.ReadAll(c.Reader()); err != nil {
			return nil, err
		}
	}
	return files, nil
}
