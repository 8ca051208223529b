//go:build lab

package appliance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/repair"
)

// The members of the arrays of TestArrays: where each is on the disk, in MiB, and where
// in it the data begin.
const (
	memberSize         = 24
	dataAt, dataSize   = 1, memberSize - 1
	mirrorAt           = 1
	stripeAt, stripes  = mirrorAt + memberSize, 2
	chunkBytes, noRole = 64 << 10, 0xfffe
	events             = 7
)

// superblock is one of version 1.2 as mdadm writes it.
func superblock(name string, level, disks, role int) []byte {
	b := make([]byte, 4096)
	le := binary.LittleEndian
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	copy(b[16:], name+" identifier......")
	copy(b[32:], "host:"+name)
	le.PutUint32(b[72:], uint32(level))
	le.PutUint64(b[80:], dataSize<<20/sector)
	le.PutUint32(b[92:], uint32(disks))
	if level == disk.Striped {
		le.PutUint32(b[88:], chunkBytes/sector)
		le.PutUint64(b[80:], 0)
	}
	le.PutUint64(b[128:], dataAt<<20/sector)
	le.PutUint64(b[136:], dataSize<<20/sector)
	le.PutUint64(b[144:], 8)
	le.PutUint32(b[160:], uint32(role))
	copy(b[168:], fmt.Sprintf("%s device %d......", name, role))
	le.PutUint64(b[200:], events)
	le.PutUint64(b[208:], ^uint64(0))
	le.PutUint32(b[220:], uint32(disks))
	for n := range disks {
		le.PutUint16(b[256+2*n:], noRole)
		if level != disk.Mirror || n == role {
			le.PutUint16(b[256+2*n:], uint16(n))
		}
	}
	var sum uint64
	for _, w := range numbers(b[:256+2*disks]) {
		sum += uint64(w)
	}
	le.PutUint32(b[216:], uint32(sum)+uint32(sum>>32))
	return b
}

// numbers gives a superblock as the numbers that its checksum is made of.
func numbers(b []byte) (words []uint32) {
	for ; len(b) >= 4; b = b[4:] {
		words = append(words, binary.LittleEndian.Uint32(b))
	}
	if len(b) > 0 {
		words = append(words, uint32(binary.LittleEndian.Uint16(b)))
	}
	return words
}

// ext4 makes a file system with files.
func ext4(t *testing.T, mib int, files map[string]string) []byte {
	t.Helper()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "fs")
	disktest.Tree(t, dir, files)
	disktest.Tool(t, "truncate", "-s", fmt.Sprintf("%dM", mib), file)
	disktest.Tool(t, "mkfs.ext4", "-q", "-d", dir, file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// arraysDisk has a root on a mirror whose other half is elsewhere, and /var on stripes.
func arraysDisk(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.raw")
	root, data := maps.Clone(small), map[string]string{"link": ""}
	maps.DeleteFunc(root, func(name, _ string) bool { return strings.HasPrefix(name, "var/") })
	for name, text := range small {
		if of, ok := strings.CutPrefix(name, "var/"); ok {
			data[of] = text
		}
	}
	root["var/.keep"] = ""
	root["etc/fstab"] = "/dev/md0 / ext4 defaults 0 1\n/dev/md/data /var ext4 defaults 0 2\n/dev/sdb1 /data ext4 defaults 0 2\n"
	disktest.Tool(t, "truncate", "-s", fmt.Sprintf("%dM", stripeAt+stripes*memberSize+1), file)
	layout := "label: dos\n"
	for n := range 1 + stripes {
		layout += fmt.Sprintf("start=%dMiB, size=%dMiB, type=fd\n", mirrorAt+n*memberSize, memberSize)
	}
	disktest.Tool(t, "sh", "-c", fmt.Sprintf("printf '%s' | sfdisk -q %s", strings.ReplaceAll(layout, "\n", `\n`), file))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	put := func(b []byte, at int64) {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	put(superblock("0", disk.Mirror, 2, 1), mirrorAt<<20+4096)
	put(ext4(t, dataSize, root), (mirrorAt+dataAt)<<20)
	for n := range int64(stripes) {
		put(superblock("data", disk.Striped, stripes, int(n)), (stripeAt+n*memberSize)<<20+4096)
	}
	spread := ext4(t, stripes*dataSize, data)
	for c := range int64(len(spread) / chunkBytes) {
		put(spread[c*chunkBytes:(c+1)*chunkBytes], (stripeAt+c%stripes*memberSize+dataAt)<<20+c/stripes*chunkBytes)
	}
	return file
}

// arraysOf gives arrays of a repaired disk, by name, as files.
func arraysOf(t *testing.T, overlay string) map[string]string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "flat.raw")
	disktest.Tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	var members []disk.Member
	for n := range 1 + stripes {
		part := b[(mirrorAt+n*memberSize)<<20:][:memberSize<<20]
		m, ok := disk.OpenMember(fmt.Sprintf("p%d", n+1), bytes.NewReader(part), int64(len(part)))
		if clean := binary.LittleEndian.Uint64(part[4096+208:]); !ok || clean != ^uint64(0) || m.Events < events {
			t.Errorf("member %d: %+v, clean up to %d", n+1, m, clean)
		}
		members = append(members, m)
	}
	files := map[string]string{}
	if members[0].Events == events {
		t.Error("the half that was changed is not newer than the other one")
	}
	for _, a := range disk.Arrays(members) {
		if a.R == nil {
			t.Fatalf("%s: %s", a.Volume(), a.Problem)
		}
		text, err := io.ReadAll(io.NewSectionReader(a.R, 0, a.Size))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "array")
		disktest.Tree(t, filepath.Dir(file), map[string]string{"array": string(text)})
		disktest.Tool(t, "e2fsck", "-fn", file)
		files[a.Volume()] = file
	}
	return files
}

// TestArrays repairs a root on a mirror that has lost its other half, with /var on
// stripes. SYSTEMS 5.6, 5.9
func TestArrays(t *testing.T) {
	t.Parallel()
	image := arraysDisk(t)
	before := hash(t, image)
	report, plan := planFor(t, image)
	if !slices.ContainsFunc(plan.Findings, func(f repair.Finding) bool { return f.What == "md/0 lacks 1 of its members" }) {
		t.Errorf("findings %+v", plan.Findings)
	}
	plan.Steps = append(plan.Steps, repair.Step{Name: "more", Files: []repair.File{{Path: "/var/new/file", Text: "new\n"}}})
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	if _, err := testAppliance(t).Repair(t.Context(), Request{Image: image, Overlay: overlay, Plan: plan, Report: report}); err != nil {
		t.Fatal(err)
	}
	if hash(t, image) != before {
		t.Error("the image was changed")
	}
	arrays := arraysOf(t, overlay)
	if got := cat(t, arrays["md/0"], "/etc/fstab"); !strings.Contains(got, "/dev/md0 / ext4 defaults 0 1\n") || !strings.Contains(got, "/dev/sdb1 /data ext4 defaults,nofail") {
		t.Errorf("fstab is\n%s", got)
	}
	if got := cat(t, arrays["md/data"], "/new/file"); got != "new\n" {
		t.Errorf("the file on stripes is %q", got)
	}
}
