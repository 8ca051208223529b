package tinyimage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/droveway/droveway/internal/image/initramfs"
	"github.com/droveway/droveway/internal/image/kernel"
)

// kernelOptions are the guest's. Its kernel must not try whether the timer works: an
// emulated processor that is starved for a moment fails that, and the guest hangs.
const kernelOptions = "console=ttyS0 quiet panic=1 mitigations=off no_timer_check random.trust_cpu=on"

const bootConfig = `DEFAULT guest
PROMPT 0
LABEL guest
  KERNEL vmlinuz
  APPEND initrd=initrd ` + kernelOptions + `
`

// Debian's GRUB for UEFI, and where it looks for its configuration.
const (
	uefiLoader     = "/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi"
	uefiConfigPath = "::EFI/debian/grub.cfg"
	uefiConfig     = "linux /vmlinuz " + kernelOptions + "\ninitrd /initrd\nboot\n"
)

// bootPartition makes the FAT file system that SYSLINUX boots from, with mtools,
// which need no mount.
func bootPartition(ctx context.Context, k *kernel.Kernel, c Config, work string) (string, error) {
	initrd := filepath.Join(work, "initrd")
	if err := writeInitrd(initrd, k, c.Guest); err != nil {
		return "", fmt.Errorf("initramfs of the tiny image: %w", err)
	}
	config := filepath.Join(work, "syslinux.cfg")
	if err := os.WriteFile(config, []byte(bootConfig), 0o644); err != nil {
		return "", fmt.Errorf("boot configuration of the tiny image: %w", err)
	}
	fat := filepath.Join(work, "boot.fat")
	sectors := strconv.Itoa(bootMiB << 20 / sector)
	start := strconv.Itoa(bootStartMiB << 20 / sector)
	commands := [][]string{
		{"mformat", "-C", "-i", fat, "-T", sectors, "-h", "64", "-s", "32", "-H", start, "::"},
		{"mcopy", "-i", fat, k.Image, "::vmlinuz"},
		{"mcopy", "-i", fat, initrd, "::initrd"},
		{"mcopy", "-i", fat, config, "::syslinux.cfg"},
		{"syslinux", "--install", fat},
	}
	if c.UEFI {
		grub := filepath.Join(work, "grub.cfg")
		if err := os.WriteFile(grub, []byte(uefiConfig), 0o644); err != nil {
			return "", fmt.Errorf("boot configuration of the tiny image: %w", err)
		}
		commands = append(commands, [][]string{
			{"mmd", "-i", fat, "::EFI", "::EFI/BOOT", "::EFI/debian"},
			{"mcopy", "-i", fat, uefiLoader, "::EFI/BOOT/BOOTX64.EFI"},
			{"mcopy", "-i", fat, grub, uefiConfigPath},
		}...)
	}
	for _, c := range commands {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "TMPDIR="+work)
		if err := run(cmd); err != nil {
			return "", fmt.Errorf("boot partition of the tiny image: %w", err)
		}
	}
	return fat, nil
}

func writeInitrd(path string, k *kernel.Kernel, guest string) error {
	order, err := k.Load(modules)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := initramfs.NewWriter(f)
	w.Dir("modules")
	for i, m := range order {
		w.File(fmt.Sprintf("modules/%02d-%s.ko", i, m.Name), 0o644, m.Data)
	}
	if err := addFile(w, "init", guest, 0o755); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func addFile(w *initramfs.Writer, name, from string, mode int) error {
	b, err := os.ReadFile(from)
	if err == nil {
		w.File(name, mode, b)
	}
	return err
}
