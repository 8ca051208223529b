//go:build lab

package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/luks"
)

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
		disktest.Tool(t, "qemu-img", append(append([]string{"convert", "-f", "raw"}, args...), raw, image)...)
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
			disktest.Tree(t, dir, files)
		}
	}
	return dir
}

// TestLVM inspects an XFS root on a logical volume of two pieces, whose metadata
// LVM's own tools have written; the kernel of the lab has no device mapper, so
// the pieces are put in place by hand.
func TestLVM(t *testing.T) {
	dir := rootFolder(t, "almalinux9", map[string]string{"etc/fstab": "/dev/mapper/lab-root--fs / xfs defaults 0 0\n"})
	disk := filepath.Join(t.TempDir(), "disk.raw")
	disktest.Tool(t, "truncate", "-s", "384M", disk)
	disktest.Group(t, "lab", disktest.TwoPieces, disktest.Loop(t, disk))
	fs := filepath.Join(t.TempDir(), "root.xfs")
	disktest.Tool(t, "truncate", "-s", "320M", fs)
	disktest.Tool(t, "mkfs.xfs", "-q", fs)
	disktest.Mounted(t, fs, "loop", func(at string) { disktest.Tool(t, "cp", "-a", dir+"/.", at) })
	disktest.Tool(t, "dd", "if="+fs, "of="+disk, "bs=1M", "count=120", fmt.Sprintf("seek=%d", disktest.FirstPiece), "conv=notrunc", "status=none")
	disktest.Tool(t, "dd", "if="+fs, "of="+disk, "bs=1M", "skip=120", fmt.Sprintf("seek=%d", disktest.SecondPiece), "conv=notrunc", "status=none")

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
	disktest.Tool(t, "truncate", "-s", "200M", disk)
	disktest.Tool(t, "mkfs.btrfs", "-q", "-L", "pool", disk)
	disktest.Mounted(t, disk, "loop,compress-force=zstd", func(at string) {
		for _, sub := range []string{"@", "@home"} {
			disktest.Tool(t, "btrfs", "subvolume", "create", filepath.Join(at, sub))
		}
		disktest.Tool(t, "cp", "-a", dir+"/.", filepath.Join(at, "@"))
		disktest.Tool(t, "btrfs", "subvolume", "snapshot", filepath.Join(at, "@"), filepath.Join(at, "snapshot"))
	})
	r := inspectFile(t, disk)
	if r.OS.Status != identify.Identified || r.OS.ID != "opensuse15.5" || r.System.Root != "disk[@]" {
		t.Errorf("%s %s on %q: %v", r.OS.Status, r.OS.ID, r.System.Root, r.OS.Why)
	}
}

// TestEncrypted says what is encrypted.
func TestEncrypted(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	disktest.Tool(t, "truncate", "-s", "32M", disk)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, filesystemtest.Noise(32), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"luks1", "luks2"} {
		disktest.Tool(t, "cryptsetup", "luksFormat", "-q", "--type", kind, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", disk, key)
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
	disktest.Tool(t, "truncate", "-s", "1M", disk)
	disktest.Tool(t, "mkswap", "-q", disk)
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
