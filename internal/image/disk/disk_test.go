package disk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

// entry is a partition of an MBR, in sectors.
type entry struct {
	kind         byte
	start, count uint32
}

func putMBR(b []byte, entries ...entry) {
	for i, e := range entries {
		at := b[mbrEntries+i*mbrEntry:]
		at[4] = e.kind
		binary.LittleEndian.PutUint32(at[8:], e.start)
		binary.LittleEndian.PutUint32(at[12:], e.count)
	}
	b[510], b[511] = 0x55, 0xaa
}

func table(t *testing.T, b []byte) Table {
	t.Helper()
	tab, err := ReadTable(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestMBR(t *testing.T) {
	b := make([]byte, 4*mib)
	copy(b[100:], "GRUB")
	putMBR(b, entry{0x83, 2048, 1024}, entry{0x05, 4096, 4096})
	putMBR(b[4096*sector:], entry{0x82, 8, 100}, entry{0x05, 1024, 2048})
	putMBR(b[5120*sector:], entry{0x8e, 16, 200})
	got := table(t, b)
	want := Table{Kind: "mbr", BootCode: "grub", ID: "00000000", Parts: []Part{
		{Number: 1, Start: 2048 * sector, Size: 1024 * sector, Type: "83", UUID: "00000000-01"},
		{Number: 5, Start: 4104 * sector, Size: 100 * sector, Type: "82", UUID: "00000000-05"},
		{Number: 6, Start: 5136 * sector, Size: 200 * sector, Type: "8e", UUID: "00000000-06"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadMBR(t *testing.T) {
	b := make([]byte, 4*mib)
	putMBR(b, entry{0x83, 1 << 30, 1}, entry{0x83, 2048, 1 << 30}, entry{0x05, 4096, 100})
	putMBR(b[4096*sector:], entry{0x83, 8, 8}, entry{0x05, 0, 100}) // a ring
	notes := strings.Join(table(t, b).Notes, "\n")
	for _, want := range []string{"partition 1 lies outside", "partition 2 ends after", "a ring"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note says %q:\n%s", want, notes)
		}
	}
	clear(b)
	b[mbrEntries], b[510], b[511] = 0x12, 0x55, 0xaa
	if got := table(t, b); got.Kind != "none" {
		t.Errorf("a boot sector that is no MBR is %q", got.Kind)
	}
}

// putGPT writes one partition, at the front or the end.
func putGPT(b []byte, at, entries int) {
	le := binary.LittleEndian
	e := b[entries*sector : entries*sector+128*128]
	copy(e, "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b")
	e[16] = 1
	le.PutUint64(e[32:], 2048)
	le.PutUint64(e[40:], 4095)
	copy(e[56:], "E\x00S\x00P\x00")
	h := b[at*sector : (at+1)*sector]
	copy(h, "EFI PART\x00\x00\x01\x00")
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[72:], uint64(entries))
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(e))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestGPT(t *testing.T) {
	b := make([]byte, 4*mib)
	last := len(b)/sector - 1
	putMBR(b, entry{mbrProtective, 1, 0xffffffff})
	putGPT(b, 1, 2)
	putGPT(b, last, last-33)
	want := []Part{{Number: 1, Start: mib, Size: mib, Type: TypeESP, UUID: "00000001-0000-0000-0000-000000000000", Name: "ESP"}}
	if diff := cmp.Diff(want, table(t, b).Parts); diff != "" {
		t.Error(diff)
	}
	b[sector+40] ^= 1 // the copy at the end must serve
	got := table(t, b)
	if diff := cmp.Diff(want, got.Parts); diff != "" || len(got.Notes) != 1 {
		t.Errorf("notes %q\n%s", got.Notes, diff)
	}
	b[last*sector+40] ^= 1
	if got := table(t, b); got.Kind != "mbr" || len(got.Notes) == 0 {
		t.Errorf("without a valid GPT: %+v", got)
	}
}

// lvmText is the metadata of a group with a linear, a striped and a broken
// volume.
const lvmText = `vg { # made by hand
id = "group" extent_size = 8
physical_volumes {
  pv0 { id = "AAAA-1" pe_start = 2048 }
  pv1 { id = "BBBB-2" pe_start = 2048 }
  pv2 { id = "CCCC-3" pe_start = 2048 }
}
logical_volumes {
  linear { status = ["READ", "VISIBLE"] segment_count = 2
    segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 5] }
    segment2 { start_extent = 2 extent_count = 1 type = "striped" stripe_count = 1 stripes = ["pv1", 0] }
  }
  striped { status = ["VISIBLE"]
    segment1 { start_extent = 0 extent_count = 4 type = "striped" stripe_size = 4 stripes = ["pv0", 0, "pv1", 1] }
  }
  lost { status = ["VISIBLE"]
    segment1 { start_extent = 0 extent_count = 4 type = "striped" stripes = ["pv2", 0] }
  }
  thin { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 1 type = "thin" } }
  hidden { status = ["READ"] segment1 { start_extent = 0 extent_count = 1 type = "striped" stripes = ["pv0", 9] } }
}
}`

// physical makes a physical volume whose extents hold their own number.
func physical(id string, text string) []byte {
	le := binary.LittleEndian
	b := make([]byte, 2*mib)
	l := b[sector:]
	copy(l, "LABELONE")
	le.PutUint32(l[20:], 32)
	copy(l[24:], "LVM2 001")
	copy(l[32:64], id)
	le.PutUint64(l[32+40:], mib) // the only data area, then the end of the list
	le.PutUint64(l[32+72:], 4096)
	le.PutUint64(l[32+80:], 64<<10)
	m := b[4096:]
	copy(m[4:], mdaMagic)
	off := 64<<10 - 100 // the text goes on at the front of the ring
	le.PutUint64(m[40:], uint64(off))
	le.PutUint64(m[48:], uint64(len(text)))
	copy(m[off:64<<10], text)
	if len(text) > 100 {
		copy(m[mdaHeader:], text[100:])
	}
	for i := range 2 * mib / sector / 8 / 2 {
		for j := range 8 * sector {
			b[mib+i*8*sector+j] = id[0] ^ byte(i) ^ byte(j>>11)
		}
	}
	return b
}

func TestLVM(t *testing.T) {
	a, b := physical("AAAA1", lvmText), physical("BBBB2", "")
	var pvs []*PhysicalVolume
	for _, d := range [][]byte{a, b} {
		pv, err := OpenPhysicalVolume("p", bytes.NewReader(d), int64(len(d)))
		if err != nil {
			t.Fatal(err)
		}
		pv.UUID = strings.TrimRight(pv.UUID, "\x00")
		pvs = append(pvs, pv)
	}
	lvs, err := LogicalVolumes(pvs)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, lv := range lvs {
		got[lv.Name] = lv.Problem
	}
	want := map[string]string{"linear": "", "striped": "", "lost": "physical volume pv2 (CCCC-3) is missing: it is on another disk", "thin": "a segment of type thin cannot be read"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const extent = 8 * sector
	ea := func(i int) []byte { return a[mib+i*extent : mib+(i+1)*extent] }
	eb := func(i int) []byte { return b[mib+i*extent : mib+(i+1)*extent] }
	same(t, lvs[0], slicesOf(ea(5), ea(6), eb(0)))
	half := extent / 2
	same(t, lvs[1], slicesOf(ea(0)[:half], eb(1)[:half], ea(0)[half:], eb(1)[half:], ea(1)[:half], eb(2)[:half], ea(1)[half:], eb(2)[half:]))
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func same(t *testing.T, lv LogicalVolume, want []byte) {
	t.Helper()
	got := make([]byte, lv.Size)
	if _, err := lv.R.ReadAt(got, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: its %d bytes are not those of its extents", lv.Name, len(got))
	}
}

func FuzzDisk(f *testing.F) {
	b := make([]byte, 64<<10)
	putMBR(b, entry{0x83, 8, 8}, entry{0x05, 16, 100})
	putMBR(b[16*sector:], entry{0x83, 8, 8}, entry{0x05, 0, 100})
	f.Add(b)
	g := make([]byte, 64<<10)
	putMBR(g, entry{mbrProtective, 1, 0xffffffff})
	putGPT(g, 1, 2)
	f.Add(g)
	f.Add(super{level: Mirror, disks: 1, name: "boot"}.member(make([]byte, 64<<10)))
	f.Add(physical("AAAA1", lvmText)[:128<<10])
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := bytes.NewReader(b)
		_, _ = ReadTable(r, int64(len(b)))
		if m, ok := OpenMember("p1", r, int64(len(b))); ok {
			for _, a := range Arrays([]Member{m, m}) {
				if a.R != nil {
					_, _ = a.R.ReadAt(make([]byte, 100), a.Size/2)
				}
			}
		}
		pv, err := OpenPhysicalVolume("p1", r, int64(len(b)))
		if err != nil {
			return
		}
		lvs, _ := LogicalVolumes([]*PhysicalVolume{pv})
		for _, lv := range lvs {
			if lv.R != nil {
				_, _ = lv.R.ReadAt(make([]byte, 100), lv.Size/2)
			}
		}
	})
}

// TestLVMQuotes reads what LVM itself notes: the command that made the group, with its
// quotes escaped, and a # and a } that mean nothing.
func TestLVMQuotes(t *testing.T) {
	s, err := parseLVMText(`description = "vgcreate --config 'filter=[ \"a|/dev/sda#|\", \"r|.*|\" ] }' c:\\"
vg { id = "group" }`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.text("description"), `vgcreate --config 'filter=[ "a|/dev/sda#|", "r|.*|" ] }' c:\`; got != want {
		t.Errorf("the description is %s", got)
	}
	if got := s.part("vg").text("id"); got != "group" {
		t.Errorf("the group behind it has the id %q", got)
	}
}

func FuzzLVMText(f *testing.F) {
	f.Add(lvmText)
	f.Add(`a = "\`)
	f.Add(`a { b = [ "c`)
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseLVMText(s) })
}
