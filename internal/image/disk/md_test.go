package disk

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
)

// super is what tests say of a member.
type super struct {
	level, disks, role int
	layout             uint32
	events             uint64
	name               string
}

// member is a member of version 1.2 with data behind its superblock, in chunks of 4 KiB.
func (s super) member(data []byte) []byte {
	b := make([]byte, 8192, 8192+len(data))
	le := binary.LittleEndian
	h := b[4096:]
	le.PutUint32(h, mdMagic)
	le.PutUint32(h[4:], 1)
	copy(h[16:], "array-identifier")
	copy(h[32:], s.name)
	le.PutUint32(h[72:], uint32(s.level))
	le.PutUint32(h[76:], s.layout)
	le.PutUint64(h[80:], uint64(len(data)/sector))
	le.PutUint32(h[88:], 8)
	le.PutUint32(h[92:], uint32(s.disks))
	le.PutUint64(h[128:], 16)
	le.PutUint64(h[144:], 8)
	le.PutUint64(h[200:], s.events)
	le.PutUint16(h[256:], uint16(s.role))
	return append(b, data...)
}

// chunks are chunks of 4 KiB, each of one letter.
func chunks(letters string) (b []byte) {
	for _, l := range []byte(letters) {
		b = append(b, bytes.Repeat([]byte{l}, 4096)...)
	}
	return b
}

func membersOf(t *testing.T, disks ...[]byte) (all []Member) {
	t.Helper()
	for i, b := range disks {
		m, ok := OpenMember(string(rune('a'+i)), bytes.NewReader(b), int64(len(b)))
		if !ok {
			t.Fatalf("disk %d is no member", i)
		}
		all = append(all, m)
	}
	return all
}

// TestArrays reads arrays of each level whose members say what they are.
func TestArrays(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		disks   [][]byte
		want    string // letters of chunks; empty: it cannot be read
		members string
		missing int
		words   string
	}{
		"mirror":          {[][]byte{super{level: 1, disks: 2, role: 1}.member(chunks("ab")), super{level: 1, disks: 2}.member(chunks("ab"))}, "ab", "ba", 0, ""},
		"one of a mirror": {[][]byte{super{level: 1, disks: 2, role: 1}.member(chunks("ab"))}, "ab", "a", 1, ""},
		"an old one":      {[][]byte{super{level: 1, disks: 2}.member(chunks("xy")), super{level: 1, disks: 2, role: 1, events: 2}.member(chunks("ab"))}, "ab", "b", 1, ""},
		"a spare":         {[][]byte{super{level: 1, disks: 2, role: 0xffff}.member(chunks("xy"))}, "", "", 2, "spare"},
		"linear":          {[][]byte{super{level: -1, disks: 2, role: 1}.member(chunks("c")), super{level: -1, disks: 2}.member(chunks("ab"))}, "abc", "ba", 0, ""},
		"stripes":         {[][]byte{super{level: 0, disks: 2}.member(chunks("ac")), super{level: 0, disks: 2, role: 1}.member(chunks("bd"))}, "abcd", "ab", 0, ""},
		"half of stripes": {[][]byte{super{level: 0, disks: 2}.member(chunks("ac"))}, "", "a", 1, "missing"},
		"other sizes":     {[][]byte{super{level: 0, disks: 2}.member(chunks("ac")), super{level: 0, disks: 2, role: 1}.member(chunks("b"))}, "", "ab", 0, "same size"},
		"mirrored stripes": {[][]byte{
			super{level: 10, disks: 4, role: 1, layout: 0x102}.member(chunks("ac")), super{level: 10, disks: 4, role: 2, layout: 0x102}.member(chunks("bd")),
		}, "abcd", "ab", 2, ""},
		"half of mirrored": {[][]byte{
			super{level: 10, disks: 4, role: 0, layout: 0x102}.member(chunks("ac")), super{level: 10, disks: 4, role: 1, layout: 0x102}.member(chunks("ac")),
		}, "", "ab", 2, "missing"},
		"far copies": {[][]byte{super{level: 10, disks: 2, layout: 0x201}.member(chunks("ab"))}, "", "a", 1, "layout"},
		"parity":     {[][]byte{super{level: 5, disks: 3}.member(chunks("ab"))}, "", "a", 2, "level 5"},
	} {
		all := Arrays(membersOf(t, k.disks...))
		if len(all) != 1 {
			t.Errorf("%s: %d arrays", name, len(all))
			continue
		}
		a := all[0]
		if a.Missing != k.missing || strings.Join(a.Members, "") != k.members || (a.R == nil) != (k.want == "") || !strings.Contains(a.Problem, k.words) {
			t.Errorf("%s: %+v", name, a)
		}
		if a.R == nil {
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(a.R, 0, a.Size))
		if err != nil || !bytes.Equal(got, chunks(k.want)) {
			t.Errorf("%s: %v, %d bytes, not those of %q", name, err, len(got), k.want)
		}
	}
}

// TestMembers says of each version of the superblock what it says. A name that leads
// elsewhere is none.
func TestMembers(t *testing.T) {
	t.Parallel()
	b := super{level: 1, disks: 2, name: "host:../boot"}.member(chunks("aaaa"))
	m, ok := OpenMember("p1", bytes.NewReader(b), int64(len(b)))
	if a := Arrays([]Member{m}); !ok || m.Version != "1.2" || m.Role != 0 || a[0].Volume() != "md/___boot" {
		t.Errorf("%+v, %v, %+v", m, ok, a)
	}
	const size = 1 << 20
	end := slices.Concat(make([]byte, size-8192), b[4096:8192], make([]byte, 4096))
	binary.LittleEndian.PutUint64(end[size-8192+144:], (size-8192)/sector)
	if m, ok := OpenMember("p1", bytes.NewReader(end), size); !ok || m.Version != "1.0" {
		t.Errorf("at the end: %+v, %v", m, ok)
	}
	old := make([]byte, size)
	h := old[size-64<<10:]
	for word, v := range map[int]uint32{0: mdMagic, 2: 90, 7: 1, 8: 100, 10: 2, 11: 3, 39: 5, 40: 1, 992 + 3: 1, 992 + 4: 6} {
		binary.LittleEndian.PutUint32(h[4*word:], v)
	}
	m, ok = OpenMember("p1", bytes.NewReader(old), size)
	if a := Arrays([]Member{m}); !ok || m.Version != "0.90" || m.Role != 1 || m.Events != 1<<32+5 || a[0].Volume() != "md/3" || a[0].Size != 100<<10 || a[0].R == nil {
		t.Errorf("of old: %+v, %v, %+v", m, ok, a)
	}
}

// TestSameName keeps two arrays apart.
func TestSameName(t *testing.T) {
	t.Parallel()
	one, two := super{level: 1, disks: 1}.member(chunks("a")), super{level: 1, disks: 1}.member(chunks("b"))
	copy(two[4096+16:], "other-identifier")
	all := Arrays(membersOf(t, one, two))
	if len(all) != 2 || all[0].Volume() == all[1].Volume() {
		t.Errorf("%+v", all)
	}
}
