// Package guestfs lets the programs of libguestfs, with which ours are compared, run
// where this machine may have no kernel to boot from and no accelerator that works.
package guestfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
)

// Kernel is the directory where scripts/setup has unpacked the lab's kernel, with
// boot/vmlinuz-* and lib/modules/* in it.
func Kernel() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the lab's kernel: %w", err)
	}
	return filepath.Join(cache, "droveway", "kernel"), nil
}

// Accelerator is kvm or tcg: what works here.
func Accelerator(ctx context.Context) (string, error) {
	have, err := qemu.New(qemu.Config{}).Probe(ctx)
	if err != nil {
		return "", fmt.Errorf("find out which accelerator works: %w", err)
	}
	return have["accelerator"], nil
}

// Env lets libguestfs start its appliance with the lab's kernel, and with the
// accelerator that our own guests get. It wants a list of the modules, which an
// unpacked kernel does not have, and gets a copy with one in dir.
func Env(ctx context.Context, dir, accelerator string) ([]string, error) {
	kernel, err := Kernel()
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("no kernel in %s: run scripts/setup", kernel)
	}
	version := strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")
	if _, err := cost.Command(ctx, "cp", "-a", filepath.Join(kernel, "lib"), dir); err != nil {
		return nil, err
	}
	if _, err := cost.Command(ctx, "depmod", "-b", dir, version); err != nil {
		return nil, err
	}
	env := append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "SUPERMIN_KERNEL="+found[0], "SUPERMIN_KERNEL_VERSION="+version,
		"SUPERMIN_MODULES="+filepath.Join(dir, "lib", "modules", version))
	if accelerator != "kvm" {
		env = append(env, "LIBGUESTFS_BACKEND_SETTINGS=force_tcg") // it would try KVM, and fail where that does
	}
	return env, nil
}
