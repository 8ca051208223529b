//go:build lab

package appliance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/repair"
)

// attach shows a part of a file as a block device. Offset and size are MiB.
func attach(t *testing.T, file string, offset, size int) string {
	t.Helper()
	dev := strings.TrimSpace(tool(t, "losetup", "-f", "--show", "-o", fmt.Sprint(offset<<20), "--sizelimit", fmt.Sprint(size<<20), file))
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	return dev
}

// mounted does something with a file system mounted.
func mounted(t *testing.T, dev, options string, do func(at string)) {
	t.Helper()
	at := t.TempDir()
	tool(t, "mount", "-o", options, dev, at)
	defer tool(t, "umount", at)
	do(at)
}

// group is a group of LVM with one volume in two pieces, the second one before the
// first.
const group = `contents = "Text Format Volume Group"
version = 1
lab {
id = "%s"
seqno = 2
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192
max_lv = 0
max_pv = 0
physical_volumes {
pv0 { id = "%s" device = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 95 }
}
logical_volumes {
root-fs { id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA" status = ["READ", "WRITE", "VISIBLE"] segment_count = 2
segment1 { start_extent = 0 extent_count = 30 type = "striped" stripe_count = 1 stripes = ["pv0", 50] }
segment2 { start_extent = 30 extent_count = 50 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
} } }
`

// Where things are on the disk of TestLayout, in MiB.
const (
	espAt, espSize   = 1, 40
	lvmAt, lvmSize   = 41, 384
	poolAt, poolSize = 425, 200
	firstPiece       = lvmAt + 1 + 50*4 // of the logical volume, 120 MiB
	secondPiece      = lvmAt + 1        // 200 MiB
)

// makeGroup makes a group on a part of a disk, in MiB, with LVM's own tools. Its text
// leaves room for both identifiers and the device.
func makeGroup(t *testing.T, disk, text string, at, size int) {
	t.Helper()
	dev := attach(t, disk, at, size)
	// Only its own device: tests at the same time have groups of the same name.
	config := fmt.Sprintf("devices { use_devicesfile=0 filter=[ \"a|^%s$|\", \"r|.*|\" ] } activation { udev_sync=0 udev_rules=0 }", dev)
	tool(t, "pvcreate", "-q", "-y", "--config", config, dev)
	tool(t, "vgcreate", "-q", "--config", config, "lab", dev)
	id := func(command, field, of string) string {
		lines := strings.Split(strings.TrimSpace(tool(t, command, "--noheadings", "--config", config, "-o", field, of)), "\n")
		return strings.TrimSpace(lines[len(lines)-1])
	}
	backup := filepath.Join(t.TempDir(), "group")
	if err := os.WriteFile(backup, fmt.Appendf(nil, text, id("vgs", "vg_uuid", "lab"), id("pvs", "pv_uuid", dev), dev), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "vgcfgrestore", "-q", "-f", backup, "--config", config, "lab")
}

// pieces copies the logical volume between a file of its own and the disk.
func pieces(t *testing.T, from, to string, out bool) {
	t.Helper()
	for _, p := range []struct{ at, within, count int }{{firstPiece, 0, 120}, {secondPiece, 120, 200}} {
		skip, seek := p.within, p.at
		if out {
			skip, seek = p.at, p.within
		}
		tool(t, "dd", "if="+from, "of="+to, "bs=1M", "conv=notrunc", "status=none", fmt.Sprintf("count=%d", p.count), fmt.Sprintf("skip=%d", skip), fmt.Sprintf("seek=%d", seek))
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
	writeTree(t, dir, files)
	tool(t, "truncate", "-s", "640M", disk)
	tool(t, "sh", "-c", fmt.Sprintf("printf 'label: dos\nstart=%dMiB, size=%dMiB, type=ef\nstart=%dMiB, size=%dMiB, type=8e\nstart=%dMiB, size=%dMiB, type=83\n' | sfdisk -q %s",
		espAt, espSize, lvmAt, lvmSize, poolAt, poolSize, disk))
	makeGroup(t, disk, group, lvmAt, lvmSize)
	tool(t, "truncate", "-s", "320M", root)
	tool(t, "mkfs.xfs", "-q", root)
	mounted(t, root, "loop", func(at string) { tool(t, "cp", "-a", dir+"/.", at) })
	pieces(t, root, disk, false)
	esp := filepath.Join(t.TempDir(), "esp")
	tool(t, "truncate", "-s", fmt.Sprintf("%dM", espSize), esp)
	tool(t, "mkfs.vfat", "-i", "ABCD1234", esp)
	tool(t, "mmd", "-i", esp, "::EFI", "::EFI/debian")
	tool(t, "mcopy", "-i", esp, filepath.Join(dir, "boot/efi/loader"), "::EFI/debian/grubx64.efi")
	tool(t, "dd", "if="+esp, "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", espAt), "conv=notrunc", "status=none")
	pool := attach(t, disk, poolAt, poolSize)
	tool(t, "mkfs.btrfs", "-q", "-L", "pool", pool)
	mounted(t, pool, "rw", func(at string) {
		tool(t, "btrfs", "subvolume", "create", filepath.Join(at, "@var"))
		writeTree(t, filepath.Join(at, "@var"), map[string]string{"lib/dpkg/status": "", "link": ""})
		tool(t, "ln", "-sf", "/etc/passwd", filepath.Join(at, "@var", "link"))
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
	tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	tool(t, "truncate", "-s", "320M", root)
	pieces(t, raw, root, true)
	tool(t, "xfs_repair", "-n", root)
	expectFile := func(at, file, want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(at, file)); err != nil || string(b) != want {
			t.Errorf("%s: %v %q", file, err, b)
		}
	}
	mounted(t, root, "loop,ro", func(at string) {
		fstab := "/dev/lab/root-fs / xfs defaults 0 0\nLABEL=pool /var btrfs subvol=/@var 0 0\nUUID=ABCD-1234 /boot/efi vfat defaults 0 0\n"
		expectFile(at, "etc/fstab", fstab)
		expectFile(at, "etc/passwd", fstab) // what the link led to
		expectFile(at, "etc/passwd"+repair.Beside, small["etc/passwd"])
		if _, err := os.Stat(filepath.Join(at, "etc/two")); err == nil {
			t.Error("a file for a card that there is not was written")
		}
	})
	if got := tool(t, "mtype", "-i", fmt.Sprintf("%s@@%dM", raw, espAt), "::EFI/BOOT/BOOTX64.EFI"); got != "MZ" {
		t.Errorf("the loader at UEFI's own path is %q", got)
	}
	mounted(t, attach(t, raw, poolAt, poolSize), "ro,subvol=@var", func(at string) { expectFile(at, "new/file", "for 52:54:00:ab:cd:ef\n") })
}
