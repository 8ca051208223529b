package tinyimage

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/kernel"
)

// modules are what a guest needs of the kernel: its disks, its network card, and
// its power button. What they depend on comes along.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi", "sr_mod", "button", "evdev"}

// KernelDir is where scripts/setup unpacks the package of the lab's kernel.
func KernelDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the lab's kernel: %w", err)
	}
	return filepath.Join(cache, "droveway", "kernel"), nil
}

// findKernel looks into a directory; empty: KernelDir.
func findKernel(dir string) (k *kernel.Kernel, err error) {
	if dir == "" {
		if dir, err = KernelDir(); err != nil {
			return nil, err
		}
	}
	k, err = kernel.Find(dir)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "find the guests' kernel: %w: run scripts/setup", err)
	}
	return k, nil
}
