package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway/bench/cost"
)

// farDisk makes a VMDK of a Debian with a partition of data behind its own, as a
// machine has that was in use for some time.
func (o options) farDisk(ctx context.Context, dir string, r *report) (string, error) {
	o.log.Info("making the far disk")
	system, err := cost.Command(ctx, "scripts/build-debian-image")
	if err != nil {
		return "", err
	}
	raw, vmdk := filepath.Join(dir, "raw"), filepath.Join(dir, "disk.vmdk")
	if _, err := cost.Command(ctx, "cp", "--sparse=always", system, raw); err != nil {
		return "", err
	}
	if err := addData(ctx, raw, o.data<<20); err != nil {
		return "", err
	}
	if _, err := cost.Command(ctx, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, vmdk); err != nil {
		return "", err
	}
	info, err := os.Stat(vmdk)
	if err != nil {
		return "", err
	}
	r.FarBytes, r.Rate, r.LatencyMS = info.Size(), o.rate, o.latency.Milliseconds()
	return vmdk, os.Remove(raw)
}

// addData appends so many bytes that cannot be compressed, and a partition of them.
func addData(ctx context.Context, disk string, size int64) error {
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = io.CopyN(f, rand.Reader, size)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("add data to the disk: %w", err)
	}
	c := exec.CommandContext(ctx, "sfdisk", "--quiet", "--append", "--no-reread", disk)
	c.Stdin = strings.NewReader("type=83\n")
	_, _, err = cost.Of(c)
	return err
}
