// Package guestfs lets the programs of libguestfs, with which ours are compared, run
// where this machine may have no kernel to boot from and no accelerator that works.
package guestfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/droveway/droveway/bench/cost"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image/kernel"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

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
	unpacked, err := tinyimage.KernelDir()
	if err != nil {
		return nil, err
	}
	k, err := kernel.Find(unpacked)
	if err != nil {
		return nil, fmt.Errorf("%w: run scripts/setup", err)
	}
	if _, err := cost.Command(ctx, "cp", "-a", filepath.Join(unpacked, "lib"), dir); err != nil {
		return nil, err
	}
	if _, err := cost.Command(ctx, "depmod", "-b", dir, k.Version); err != nil {
		return nil, err
	}
	env := append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "SUPERMIN_KERNEL="+k.Image, "SUPERMIN_KERNEL_VERSION="+k.Version,
		"SUPERMIN_MODULES="+filepath.Join(dir, "lib", "modules", k.Version))
	if accelerator != "kvm" {
		env = append(env, "LIBGUESTFS_BACKEND_SETTINGS=force_tcg") // it would try KVM, and fail where that does
	}
	return env, nil
}
