package tinyimage

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/initramfs"
)

// modules are what a guest needs of the kernel: its disks, its network card, and
// its power button. What they depend on comes along.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi", "sr_mod", "button", "evdev"}

// kernel is an unpacked Debian kernel package.
type kernel struct {
	image   string // path of the bootable kernel
	version string
	modules map[string]string // name to path of its file
}

// findKernel looks into a directory in which a kernel package was unpacked.
func findKernel(dir string) (kernel, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return kernel{}, fmt.Errorf("find the guests' kernel: %w", err)
		}
		dir = filepath.Join(cache, "droveway", "kernel")
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) == 0 {
		return kernel{}, droveway.Errorf(droveway.NotFound, "no guest kernel in %s: run scripts/setup", dir)
	}
	image := slices.Max(images)
	k := kernel{image: image, version: strings.TrimPrefix(filepath.Base(image), "vmlinuz-"), modules: map[string]string{}}
	root := filepath.Join(dir, "lib", "modules", k.version)
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := initramfs.ModuleName(path); ok {
			k.modules[name] = path
		}
		return err
	})
	if err != nil {
		return kernel{}, fmt.Errorf("look for kernel modules: %w", err)
	}
	return k, nil
}

// load lists the files of modules in the order in which they can be loaded. One
// that is no file is part of the kernel itself.
func (k kernel) load(wanted []string) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		path, ok := k.modules[name]
		if seen[name] || !ok {
			return nil
		}
		seen[name] = true
		needs, err := dependencies(path)
		if err != nil {
			return fmt.Errorf("kernel module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func dependencies(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return initramfs.ModuleNeeds(f)
}
