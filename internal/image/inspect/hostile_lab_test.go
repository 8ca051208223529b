//go:build lab

package inspect

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/identify"
)

// inspectUntouched inspects a file, which must be as before, with nothing beside it.
func inspectUntouched(t *testing.T, path string) *Report {
	t.Helper()
	look := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		beside, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x %v", sha256.Sum256(b), beside)
	}
	before := look()
	r := inspectFile(t, path)
	if after := look(); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
	return r
}

// TestFolderInItself inspects a disk whose folders contain themselves, and whose links
// lead to a file of this host. SYSTEMS 5.9, 5.10.
func TestFolderInItself(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("/dev/of-this-host / ext4 defaults 0 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20)
	dir := rootFolder(t, "debian12", map[string]string{
		"etc/fstab": "-> " + up + secret[1:], "etc/hostname": "-> " + secret, "etc/network/interfaces": "-> /proc/self/root" + secret,
		"usr/lib/modules/6.1.0-1-amd64/kernel/fs/x": "x",
	})
	disk := filepath.Join(t.TempDir(), "disk.raw")
	disktest.Tool(t, "truncate", "-s", "64M", disk)
	disktest.Tool(t, "mke2fs", "-q", "-t", "ext4", "-d", dir, disk)
	for _, k := range []string{"/usr/lib/modules /usr/lib/modules/6.1.0-1-amd64/kernel/fs/again", "/ /usr/lib/root", "/etc /etc/etc", "/boot /boot/boot"} {
		disktest.Tool(t, "debugfs", "-w", "-R", "link "+k, disk)
	}
	if said := disktest.Tool(t, "debugfs", "-R", "ls /etc/etc/etc/etc", disk); !strings.Contains(said, "fstab") {
		t.Fatalf("no folder is in itself:\n%s", said)
	}
	r := inspectUntouched(t, disk)
	if r.OS.Status != identify.Identified || r.OS.ID != "debian12" {
		t.Errorf("%s %s: %v", r.OS.Status, r.OS.ID, r.OS.Why)
	}
	b, err := json.Marshal(r)
	if err != nil || bytes.Contains(b, []byte("of-this-host")) {
		t.Errorf("the report has what a file of this host says (%v):\n%s", err, b)
	}
}

// TestPartitionsInARing inspects a disk whose last partition table names the first.
func TestPartitionsInARing(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	b := make([]byte, 8<<20)
	table := func(at int, entries ...[3]uint32) {
		for i, e := range entries {
			p := b[at+446+16*i:]
			p[4] = byte(e[0])
			binary.LittleEndian.PutUint32(p[8:], e[1])
			binary.LittleEndian.PutUint32(p[12:], e[2])
		}
		b[at+510], b[at+511] = 0x55, 0xaa
	}
	table(0, [3]uint32{0x83, 2048, 2048}, [3]uint32{5, 4096, 12288})
	table(4096*512, [3]uint32{0x83, 8, 8}, [3]uint32{5, 4096, 4096})
	table(8192*512, [3]uint32{0x83, 8, 8}, [3]uint32{5, 0, 4096})
	if err := os.WriteFile(disk, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := inspectUntouched(t, disk)
	if said := strings.Join(append(r.Disk.Notes, r.Notes...), "\n"); len(r.Disk.Parts) != 3 || !strings.Contains(said, "ring") {
		t.Errorf("partitions %+v, notes:\n%s", r.Disk.Parts, said)
	}
}

const groupOfTwo = `contents = "Text Format Volume Group"
version = 1
lab2 {
id = "%s"
seqno = 2
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192
max_lv = 0
max_pv = 0
physical_volumes {
pv0 { id = "%s" device = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 7 }
pv1 { id = "%s" device = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 7 }
}
logical_volumes {
root { id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAB" status = ["READ", "WRITE", "VISIBLE"] segment_count = 2
segment1 { start_extent = 0 extent_count = 3 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
segment2 { start_extent = 3 extent_count = 3 type = "striped" stripe_count = 1 stripes = ["pv1", 0] }
} } }
`

// TestLVMOfOneDisk inspects one of the two disks of a group of LVM.
func TestLVMOfOneDisk(t *testing.T) {
	var disks, devs []string
	for range 2 {
		d := filepath.Join(t.TempDir(), "disk.raw")
		disktest.Tool(t, "truncate", "-s", "32M", d)
		disks, devs = append(disks, d), append(devs, disktest.Loop(t, d))
	}
	ids := disktest.Group(t, "lab2", groupOfTwo, devs...)
	r := inspectUntouched(t, disks[0])
	b, err := json.Marshal(r)
	if err != nil || r.OS.Status != identify.Unsupported || !bytes.Contains(b, []byte("("+ids[1]+") is missing: it is on another disk")) {
		t.Errorf("%s: %v (%v)\n%s", r.OS.Status, r.OS.Why, err, b)
	}
}
