// Package tinyimage builds the disk of the lab's tiny guest: Debian's kernel and
// one Go program that is the whole of its user space. It boots within seconds
// even where the processor is emulated, and can be of any size, so moves of
// small and large disks can be compared.
//
// It writes below the cache directory that it is given, and mounts nothing.
package tinyimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/kernel"
)

// Config says which image to build.
type Config struct {
	Cache   string // directory for finished images
	Kernel  string // directory with boot/ and lib/modules/ of a Debian kernel package; empty: where scripts/setup unpacks it
	Guest   string // the guest program, a static binary; empty: built from this module
	SizeMiB int64  // of the disk; at least MinSizeMiB
	UEFI    bool   // boots by UEFI, too
	Filled  bool   // every byte after the boot partition is random; otherwise they are holes
}

// MinSizeMiB leaves room for records after the boot partition.
const MinSizeMiB = bootStartMiB + bootMiB + 4

// version changes the key of every image when this code changes what it builds.
const version = "2"

// Build returns the path of the image, which it builds if it is not in the cache
// yet. Nobody may write to it: it stands for all that ask for it.
func Build(ctx context.Context, c Config) (string, error) {
	if c.SizeMiB < MinSizeMiB {
		return "", droveway.Errorf(droveway.Invalid, "a tiny image of %d MiB: give at least %d", c.SizeMiB, MinSizeMiB)
	}
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return "", fmt.Errorf("make cache of tiny images: %w", err)
	}
	work, err := os.MkdirTemp(c.Cache, "work-")
	if err != nil {
		return "", fmt.Errorf("make directory to build the tiny image in: %w", err)
	}
	path, err := build(ctx, c, work)
	return path, errors.Join(err, os.RemoveAll(work))
}

func build(ctx context.Context, c Config, work string) (string, error) {
	k, err := findKernel(c.Kernel)
	if err != nil {
		return "", err
	}
	if c.Guest == "" {
		c.Guest = filepath.Join(work, "guest")
		if err := buildGuest(ctx, c.Guest); err != nil {
			return "", err
		}
	}
	key, err := c.key(k)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.Cache, c.name()+"-"+key+".raw")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	boot, err := bootPartition(ctx, k, c, work)
	if err != nil {
		return "", err
	}
	disk := filepath.Join(work, "disk")
	if err := writeDisk(disk, boot, c); err != nil {
		return "", err
	}
	return path, c.replace(disk, path)
}

func (c Config) name() string {
	contents := "sparse"
	if c.Filled {
		contents = "filled"
	}
	if c.UEFI {
		contents += "-uefi"
	}
	return fmt.Sprintf("tiny-%d-%s", c.SizeMiB, contents)
}

// replace puts the image into the cache instead of its earlier versions.
func (c Config) replace(disk, path string) error {
	old, err := filepath.Glob(filepath.Join(c.Cache, c.name()+"-*.raw"))
	if err != nil {
		return fmt.Errorf("look for earlier tiny images: %w", err)
	}
	for _, o := range old {
		if err := os.Remove(o); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove earlier tiny image: %w", err)
		}
	}
	if err := os.Rename(disk, path); err != nil {
		return fmt.Errorf("keep tiny image: %w", err)
	}
	return nil
}

// key depends on everything that goes into the image.
func (c Config) key(k *kernel.Kernel) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, version, k.Version)
	for _, path := range []string{k.Image, c.Guest} {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("part of the tiny image: %w", err)
		}
		_, err = io.Copy(sum, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("part of the tiny image: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

const guestPackage = "github.com/droveway/droveway/internal/lab/guest"

// buildGuest compiles the guest program; the working directory must lie in this
// module.
func buildGuest(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, guestPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, out)
	}
	return nil
}
