//go:build lab

package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/luks"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func inspectFile(t *testing.T, path string) *Report {
	t.Helper()
	r, err := File(context.Background(), path, Options{Catalog: catalog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFormatsAgree inspects one disk in every format. SYSTEMS 5.8
func TestFormatsAgree(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, imagetest.Image(t, "split"), 0o600); err != nil {
		t.Fatal(err)
	}
	same := func(r *Report) string {
		r.Image, r.TookMS, r.ReadBytes = Image{}, 0, 0
		b, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := same(inspectFile(t, raw))
	for name, args := range map[string][]string{
		"qcow2": {"-O", "qcow2"}, "zstd.qcow2": {"-O", "qcow2", "-c", "-o", "compression_type=zstd"}, "vmdk": {"-O", "vmdk"},
		"stream.vmdk": {"-O", "vmdk", "-o", "subformat=streamOptimized"}, "vhd": {"-O", "vpc", "-o", "force_size=on"}, "vhdx": {"-O", "vhdx"},
	} {
		image := filepath.Join(dir, "disk."+name)
		tool(t, "qemu-img", append(append([]string{"convert", "-f", "raw"}, args...), raw, image)...)
		if diff := cmp.Diff(want, same(inspectFile(t, image))); diff != "" {
			t.Errorf("%s differs from raw:\n%s", name, diff)
		}
	}
}

// root makes a folder of a guest.
func rootFolder(t *testing.T, id string, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, g := range guests {
		if g.id != id {
			continue
		}
		for _, files := range []map[string]string{g.files, more, {"etc/passwd": "root", "usr/bin/env": "x"}} {
			for name, what := range files {
				writeNode(t, filepath.Join(dir, name), what)
			}
		}
	}
	return dir
}

func writeNode(t *testing.T, p, what string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if target, ok := strings.CutPrefix(what, "-> "); ok {
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(p, []byte(what), 0o644); err != nil {
		t.Fatal(err)
	}
}

// loop shows a file as a block device.
func loop(t *testing.T, file string) string {
	t.Helper()
	dev := tool(t, "losetup", "-f", "--show", file)
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	return dev
}

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

// TestLVM inspects an XFS root on a logical volume of two pieces, whose metadata
// LVM's own tools have written; the kernel of the lab has no device mapper, so
// the pieces are put in place by hand.
func TestLVM(t *testing.T) {
	dir := rootFolder(t, "almalinux9", map[string]string{"etc/fstab": "/dev/mapper/lab-root--fs / xfs defaults 0 0\n"})
	disk := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "384M", disk)
	dev := loop(t, disk)
	// Only its own device: tests at the same time have groups of the same name.
	config := fmt.Sprintf("devices { use_devicesfile=0 filter=[ \"a|^%s$|\", \"r|.*|\" ] } activation { udev_sync=0 udev_rules=0 }", dev)
	tool(t, "pvcreate", "-q", "-y", "--config", config, dev)
	tool(t, "vgcreate", "-q", "--config", config, "lab", dev)
	uuid := func(command, field string) string {
		lines := strings.Split(tool(t, command, "--noheadings", "--config", config, "-o", field, map[string]string{"vgs": "lab", "pvs": dev}[command]), "\n")
		return strings.TrimSpace(lines[len(lines)-1])
	}
	backup := filepath.Join(t.TempDir(), "group")
	if err := os.WriteFile(backup, fmt.Appendf(nil, group, uuid("vgs", "vg_uuid"), uuid("pvs", "pv_uuid"), dev), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "vgcfgrestore", "-q", "-f", backup, "--config", config, "lab")

	fs := filepath.Join(t.TempDir(), "root.xfs")
	tool(t, "truncate", "-s", "320M", fs)
	tool(t, "mkfs.xfs", "-q", fs)
	at := t.TempDir()
	tool(t, "mount", "-o", "loop", fs, at)
	tool(t, "cp", "-a", dir+"/.", at)
	tool(t, "umount", at)
	const first = "1" // MiB, where extents begin; they have 4 MiB
	tool(t, "dd", "if="+fs, "of="+disk, "bs=1M", "count=120", "seek=201", "conv=notrunc", "status=none")
	tool(t, "dd", "if="+fs, "of="+disk, "bs=1M", "skip=120", "seek="+first, "conv=notrunc", "status=none")

	r := inspectFile(t, disk)
	if r.OS.Status != identify.Identified || r.OS.ID != "almalinux9" || r.System.Root != "lab/root-fs" {
		t.Errorf("%s %s on %q: %v\n%+v", r.OS.Status, r.OS.ID, r.System.Root, r.OS.Why, r.Volumes)
	}
	if len(r.System.Fstab) != 1 || r.System.Fstab[0].Volume != "lab/root-fs" {
		t.Errorf("fstab %+v", r.System.Fstab)
	}
}

// TestBtrfsRoot finds a root in a subvolume that is not the default one, and its
// home by fstab.
func TestBtrfsRoot(t *testing.T) {
	dir := rootFolder(t, "opensuse15.5", map[string]string{"etc/fstab": "LABEL=pool / btrfs subvol=@ 0 0\nLABEL=pool /home btrfs subvol=/@home 0 0\n"})
	disk := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "200M", disk)
	tool(t, "mkfs.btrfs", "-q", "-L", "pool", disk)
	at := t.TempDir()
	tool(t, "mount", "-o", "loop,compress-force=zstd", disk, at)
	for _, sub := range []string{"@", "@home"} {
		tool(t, "btrfs", "subvolume", "create", filepath.Join(at, sub))
	}
	tool(t, "cp", "-a", dir+"/.", filepath.Join(at, "@"))
	tool(t, "btrfs", "subvolume", "snapshot", filepath.Join(at, "@"), filepath.Join(at, "snapshot"))
	tool(t, "umount", at)
	r := inspectFile(t, disk)
	if r.OS.Status != identify.Identified || r.OS.ID != "opensuse15.5" || r.System.Root != "disk[@]" {
		t.Errorf("%s %s on %q: %v", r.OS.Status, r.OS.ID, r.System.Root, r.OS.Why)
	}
}

// TestEncrypted says what is encrypted.
func TestEncrypted(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "32M", disk)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, filesystemtest.Noise(32), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"luks1", "luks2"} {
		tool(t, "cryptsetup", "luksFormat", "-q", "--type", kind, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", disk, key)
		r := inspectFile(t, disk)
		if len(r.Volumes) != 1 || r.Volumes[0].Kind != kind || !r.Volumes[0].Encrypted || r.OS.Status != identify.Unsupported {
			t.Errorf("%s: %+v, %s", kind, r.Volumes, r.OS.Status)
		}
		keys, err := luks.ReadKeys([]string{key})
		if err != nil {
			t.Fatal(err)
		}
		r, err = File(context.Background(), disk, Options{Catalog: catalog(t), Keys: keys})
		if err != nil || len(r.Volumes) != 2 || r.Volumes[1].Name != "disk/open" || !r.Volumes[0].Unlocked {
			t.Errorf("%s, with its key: %v, %+v", kind, err, r)
		}
	}
}

// TestHibernated finds the mark that swsusp leaves in swap.
func TestHibernated(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "1M", disk)
	tool(t, "mkswap", "-q", disk)
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("S1SUSPEND\x00"), 4086); err != nil {
		t.Fatal(err)
	}
	if r := inspectFile(t, disk); r.System.Hibernated == "" {
		t.Errorf("a hibernated system was not noticed: %+v", r.Volumes)
	}
}
