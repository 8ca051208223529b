//go:build lab

package appliance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/repair"
)

// Where things are on the disk of TestLayout, in MiB.
const (
	espAt, espSize   = 1, 40
	lvmAt, lvmSize   = 41, 384
	poolAt, poolSize = 425, 200
	firstPiece       = lvmAt + disktest.FirstPiece  // of the logical volume, 120 MiB
	secondPiece      = lvmAt + disktest.SecondPiece // 200 MiB
)

// pieces copies the logical volume between a file of its own and the disk.
func pieces(t *testing.T, from, to string, out bool) {
	t.Helper()
	for _, p := range []struct{ at, within, count int }{{firstPiece, 0, 120}, {secondPiece, 120, 200}} {
		skip, seek := p.within, p.at
		if out {
			skip, seek = p.at, p.within
		}
		disktest.Tool(t, "dd", "if="+from, "of="+to, "bs=1M", "conv=notrunc", "status=none", fmt.Sprintf("count=%d", p.count), fmt.Sprintf("skip=%d", skip), fmt.Sprintf("seek=%d", seek))
	}
}

// layoutDisk is XFS on LVM with /var in a subvolume of Btrfs and an EFI partition.
func layoutDisk(t *testing.T) string {
	t.Helper()
	dir, disk, root := t.TempDir(), filepath.Join(t.TempDir(), "disk.raw"), filepath.Join(t.TempDir(), "root.xfs")
	files := map[string]string{"boot/efi/loader": "MZ", "var/.keep": ""}
	for name, text := range small {
		if !strings.HasPrefix(name, "var/") {
			files[name] = text
		}
	}
	files["etc/fstab"] = "/dev/lab/root-fs / xfs defaults 0 0\nLABEL=pool /var btrfs subvol=/@var 0 0\n/dev/sda1 /boot/efi vfat defaults 0 0\n"
	disktest.Tree(t, dir, files)
	disktest.Tool(t, "truncate", "-s", "640M", disk)
	disktest.Tool(t, "sh", "-c", fmt.Sprintf("printf 'label: dos\nstart=%dMiB, size=%dMiB, type=ef\nstart=%dMiB, size=%dMiB, type=8e\nstart=%dMiB, size=%dMiB, type=83\n' | sfdisk -q %s",
		espAt, espSize, lvmAt, lvmSize, poolAt, poolSize, disk))
	disktest.Group(t, "lab", disktest.TwoPieces, disktest.Part(t, disk, lvmAt, lvmSize))
	disktest.Tool(t, "truncate", "-s", "320M", root)
	disktest.Tool(t, "mkfs.xfs", "-q", root)
	disktest.Mounted(t, root, "loop", func(at string) { disktest.Tool(t, "cp", "-a", dir+"/.", at) })
	pieces(t, root, disk, false)
	esp := filepath.Join(t.TempDir(), "esp")
	disktest.Tool(t, "truncate", "-s", fmt.Sprintf("%dM", espSize), esp)
	disktest.Tool(t, "mkfs.vfat", "-i", "ABCD1234", esp)
	disktest.Tool(t, "mmd", "-i", esp, "::EFI", "::EFI/debian")
	disktest.Tool(t, "mcopy", "-i", esp, filepath.Join(dir, "boot/efi/loader"), "::EFI/debian/grubx64.efi")
	disktest.Tool(t, "dd", "if="+esp, "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", espAt), "conv=notrunc", "status=none")
	pool := disktest.Part(t, disk, poolAt, poolSize)
	disktest.Tool(t, "mkfs.btrfs", "-q", "-L", "pool", pool)
	disktest.Mounted(t, pool, "rw", func(at string) {
		disktest.Tool(t, "btrfs", "subvolume", "create", filepath.Join(at, "@var"))
		disktest.Tree(t, filepath.Join(at, "@var"), map[string]string{"lib/dpkg/status": "", "link": ""})
		disktest.Tool(t, "ln", "-sf", "/etc/passwd", filepath.Join(at, "@var", "link"))
	})
	return disk
}

// TestLayout changes files on LVM, XFS, a subvolume of Btrfs and FAT, and through a
// link. SYSTEMS 5.6, 5.9
func TestLayout(t *testing.T) {
	disk := layoutDisk(t)
	before := hash(t, disk)
	report, plan := planFor(t, disk)
	plan.Steps = append(plan.Steps, repair.Step{Name: "more", Files: []repair.File{
		{Path: "/var/new/file", Text: "for ${mac1}\n"}, {Path: "/etc/two", Text: "for ${mac2}\n"}, {Path: "/var/link", From: "/etc/fstab"},
	}})
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	result, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, MACs: []string{"52:54:00:AB:CD:EF"}})
	if err != nil {
		t.Fatal(err)
	}
	if hash(t, disk) != before {
		t.Error("the image was changed")
	}
	if !strings.Contains(result.Log, "/etc/two is left out") {
		t.Errorf("log %q", result.Log)
	}
	raw, root := filepath.Join(t.TempDir(), "flat.raw"), filepath.Join(t.TempDir(), "root.xfs")
	disktest.Tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	disktest.Tool(t, "truncate", "-s", "320M", root)
	pieces(t, raw, root, true)
	disktest.Tool(t, "xfs_repair", "-n", root)
	expectFile := func(at, file, want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(at, file)); err != nil || string(b) != want {
			t.Errorf("%s: %v %q", file, err, b)
		}
	}
	disktest.Mounted(t, root, "loop,ro", func(at string) {
		fstab := "/dev/lab/root-fs / xfs defaults 0 0\nLABEL=pool /var btrfs subvol=/@var 0 0\nUUID=ABCD-1234 /boot/efi vfat defaults 0 0\n"
		expectFile(at, "etc/fstab", fstab)
		expectFile(at, "etc/passwd", fstab) // what the link led to
		expectFile(at, "etc/passwd"+repair.Beside, small["etc/passwd"])
		if _, err := os.Stat(filepath.Join(at, "etc/two")); err == nil {
			t.Error("a file for a card that there is not was written")
		}
	})
	if got := disktest.Tool(t, "mtype", "-i", fmt.Sprintf("%s@@%dM", raw, espAt), "::EFI/BOOT/BOOTX64.EFI"); got != "MZ" {
		t.Errorf("the loader at UEFI's own path is %q", got)
	}
	disktest.Mounted(t, disktest.Part(t, raw, poolAt, poolSize), "ro,subvol=@var", func(at string) { expectFile(at, "new/file", "for 52:54:00:ab:cd:ef\n") })
}
