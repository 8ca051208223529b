package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// Where that Debian of package inspect, "split", has what, in bytes.
var (
	boot = extent{6144 * sector, 8192 * sector}
	root = extent{8192 * sector, 12288 * sector}
	usr  = extent{12288 * sector, 16384 * sector}
	vars = extent{16384 * sector, 20480 * sector}
)

type extent struct{ start, end int }

func (e extent) of(b []byte) []byte { return b[e.start:e.end] }

// Usr are the disks of a Debian whose /usr and /var are on the second.
func Usr(t testing.TB, split []byte) (system, data []byte) {
	t.Helper()
	system = bytes.Clone(split)
	data = MBR(usr.of(split), vars.of(split))
	clear(usr.of(system))
	clear(vars.of(system))
	edit(t, system, "PARTUUID=00000000-0000-4000-8000-000000000005 /usr", "UUID=11111111-1111-4111-8111-111111111115 /usr")
	edit(t, system, "/dev/sda6 /var", "/dev/sdb2 /var")
	return system, data
}

// Var are the disks of a Debian whose /var is on the second, and whose /data is not there.
func Var(t testing.TB, split []byte) (system, data []byte) {
	t.Helper()
	system = bytes.Clone(split)
	data = MBR(nil, vars.of(split))
	clear(vars.of(system))
	edit(t, system, "/dev/sda6 /var", "/dev/sdb2 /var")
	return system, data
}

// Group are the disks of a Debian whose root is a logical volume over both, and whose /var
// is on the second.
func Group(split []byte) (system, more []byte) {
	system = bytes.Clone(split)
	if at := bytes.Index(system, []byte("/dev/sda6 /var")); at >= 0 { // not if a fuzzer was there
		copy(system[at:], "/dev/sdb2")
	}
	half := len(root.of(system)) / 2
	more = MBR(physical("B", root.of(system)[half:]), vars.of(system))
	copy(vars.of(system), physical("A", root.of(system)[:half]))
	clear(root.of(system))
	return system, more
}

// Half is what a member of an array of MD over two disks says of itself.
type Half struct {
	Level  int
	Events uint64
	Role   uint16
}

// RootInArray makes the root of that Debian a member.
func (h Half) RootInArray(split []byte) { h.superblock(root.of(split), "array of the root") }

// BootInArray makes its /boot one.
func (h Half) BootInArray(split []byte) { h.superblock(boot.of(split), "array of /boot") }

// superblock makes a partition a member, by a superblock of version 1.0: at the end, where
// nothing is.
func (h Half) superblock(part []byte, id string) {
	le, at := binary.LittleEndian, len(part)-16*sector
	s := part[at : at+4096]
	Shorten(part, uint32(at))
	le.PutUint32(s, 0xa92b4efc)
	le.PutUint32(s[4:], 1)
	copy(s[16:32], id)
	copy(s[32:], "web:"+id[len(id)-4:])
	le.PutUint32(s[72:], uint32(h.Level))
	le.PutUint64(s[80:], uint64(at/sector))
	le.PutUint32(s[88:], 8)
	le.PutUint32(s[92:], 2)
	le.PutUint64(s[144:], uint64(at/sector))
	le.PutUint64(s[200:], h.Events)
	le.PutUint16(s[256:], h.Role)
}

// Shorten makes an ext filesystem say that it has no more than size bytes, as mkfs
// would have made it there.
func Shorten(filesystem []byte, size uint32) {
	super, le := filesystem[1024:], binary.LittleEndian
	le.PutUint32(super[4:], size/(1024<<le.Uint32(super[24:])))
}

// edit changes a line of fstab in place: of what lies in an ext4 only the files are not
// part of a checksum.
func edit(t testing.TB, b []byte, old, by string) {
	t.Helper()
	at := bytes.Index(b, []byte(old))
	if at < 0 || len(by) > len(old) {
		t.Fatalf("no %q in the image to become %q", old, by)
	}
	copy(b[at:], by+strings.Repeat(" ", len(old)-len(by)))
}

const mebibyte = 1 << 20

// MBR is a disk with the given partitions, which begin at whole mebibytes.
func MBR(parts ...[]byte) []byte {
	b := make([]byte, mebibyte)
	for i, p := range parts {
		if len(p) == 0 {
			continue
		}
		e := b[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], uint32(len(b)/sector))
		binary.LittleEndian.PutUint32(e[12:], uint32(len(p)/sector))
		b = append(b, p...)
		b = append(b, make([]byte, -len(b)&(mebibyte-1))...)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// group is the text of a volume group over two physical volumes, with a mebibyte of its
// one logical volume on each.
const group = `vg { id = "group" extent_size = 2048
physical_volumes { pv0 { id = "A" pe_start = 2048 } pv1 { id = "B" pe_start = 2048 } }
logical_volumes { root { status = ["READ", "VISIBLE"]
  segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
  segment2 { start_extent = 1 extent_count = 1 type = "striped" stripe_count = 1 stripes = ["pv1", 0] } } } }`

// physical is a physical volume of LVM2 with its data behind the first mebibyte.
func physical(id string, data []byte) []byte {
	id = strings.Repeat(id, 32)
	text := strings.ReplaceAll(strings.ReplaceAll(group, `"A"`, `"`+strings.Repeat("A", 32)+`"`), `"B"`, `"`+strings.Repeat("B", 32)+`"`)
	le := binary.LittleEndian
	b := make([]byte, mebibyte, mebibyte+len(data))
	l := b[sector:]
	copy(l, "LABELONE")
	le.PutUint32(l[20:], 32)
	copy(l[24:], "LVM2 001")
	copy(l[32:64], id)
	le.PutUint64(l[32+40:], mebibyte)
	le.PutUint64(l[32+72:], 4096)
	le.PutUint64(l[32+80:], 64<<10)
	m := b[4096:]
	copy(m[4:], " LVM2 x[5A%r0N*>")
	le.PutUint64(m[40:], sector)
	le.PutUint64(m[48:], uint64(len(text)))
	copy(m[sector:], text)
	return append(b, data...)
}

// Member is a file of an archive.
type Member struct {
	Name string
	Data []byte
}

// OVA is an archive of an OVF for the disks, and of them. All are of one machine.
func OVA(t testing.TB, disks ...Member) []byte {
	t.Helper()
	var files, list strings.Builder
	for i, d := range disks {
		fmt.Fprintf(&files, `<File ovf:id="f%d" ovf:href="%s"/>`, i, d.Name)
		fmt.Fprintf(&list, `<Disk ovf:diskId="d%d" ovf:fileRef="f%d"/>`, i, i)
	}
	ovf := `<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>` + files.String() + `</References><DiskSection>` + list.String() + `</DiskSection><VirtualSystem ovf:id="m"/></Envelope>`
	return Tar(t, append([]Member{{"m.ovf", []byte(ovf)}}, disks...)...)
}

// Tar is an archive of members in this order.
func Tar(t testing.TB, members ...Member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: m.Name, Size: int64(len(m.Data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
