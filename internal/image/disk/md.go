package disk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
)

const mdMagic = 0xa92b4efc

// Levels of arrays that can be read.
const (
	Linear   = -1
	Striped  = 0
	Mirror   = 1
	Mirrored = 10 // stripes of mirrors
)

// Marks in a superblock of MD.
const (
	mdRecovering = 1 << 1 // of features: the member is being filled
	mdReshaping  = 1 << 2
	mdNoRole     = 0xfff0 // and more: a spare, a faulty one
	mdInSync     = 1 << 2 // of a disk's state in 0.90
	mdSuper      = 4096   // bytes of a superblock
	mdMaxRoles   = 1024
)

// Member is a member of an MD array.
type Member struct {
	Volume  string // its name
	Array   string // UUID
	Name    string // of the array
	Version string // of the superblock: 0.90, 1.0, 1.1, 1.2
	Level   int
	Disks   int
	Role    int // its place among them; -1: it has no data
	Events  uint64
	Layout  uint32
	Chunk   int64 // bytes

	off, size int64 // of the data
	r         io.ReaderAt
	reshaping bool
}

// OpenMember reads the superblock of a member of an MD array, of version 1.1,
// 1.2, 1.0 or 0.90. The layout is that of md_p.h of Linux.
func OpenMember(volume string, r io.ReaderAt, size int64) (Member, bool) {
	for minor, at := range []int64{(size/sector - 16) &^ 7 * sector, 0, 4096} {
		b, err := block.Read(r, at, mdSuper)
		if err == nil && binary.LittleEndian.Uint32(b) == mdMagic && binary.LittleEndian.Uint32(b[4:]) == 1 && binary.LittleEndian.Uint64(b[144:]) == uint64(at/sector) {
			m := memberV1(b)
			m.Volume, m.r, m.Version = volume, r, fmt.Sprintf("1.%d", minor)
			return m.within(size), true
		}
	}
	b, err := block.Read(r, size&^(64<<10-1)-64<<10, mdSuper)
	if err != nil || binary.LittleEndian.Uint32(b) != mdMagic || binary.LittleEndian.Uint32(b[4:]) != 0 {
		return Member{}, false
	}
	m := memberV0(b)
	m.Volume, m.r = volume, r
	return m.within(size), true
}

func memberV0(b []byte) Member {
	word := func(n int) uint32 { return binary.LittleEndian.Uint32(b[4*n:]) }
	const thisDisk = 992
	m := Member{
		Array: fmt.Sprintf("%08x%08x%08x%08x", word(5), word(13), word(14), word(15)), Name: fmt.Sprint(word(11)), Version: "0.90",
		Level: int(int32(word(7))), Disks: int(word(10)), Role: int(int32(word(thisDisk + 3))), Events: uint64(word(40))<<32 | uint64(word(39)),
		Layout: word(64), Chunk: int64(word(65)), size: int64(word(8)) * 1024,
	}
	if word(thisDisk+4)&mdInSync == 0 {
		m.Role = -1
	}
	return m
}

func memberV1(b []byte) Member {
	le := binary.LittleEndian
	name := block.Text(b[32:64])
	if _, after, ok := strings.Cut(name, ":"); ok {
		name = after // the host it was made on is before it
	}
	features := le.Uint32(b[8:])
	m := Member{
		Array: fmt.Sprintf("%x", b[16:32]), Name: name, Level: int(int32(le.Uint32(b[72:]))), Disks: int(le.Uint32(b[92:])), Role: -1, Events: le.Uint64(b[200:]),
		Layout: le.Uint32(b[76:]), Chunk: int64(le.Uint32(b[88:])) * sector, reshaping: features&mdReshaping != 0,
	}
	if n := le.Uint32(b[160:]); n < mdMaxRoles && features&mdRecovering == 0 {
		if role := le.Uint16(b[256+2*n:]); role < mdNoRole {
			m.Role = int(role)
		}
	}
	length := le.Uint64(b[80:])
	if length == 0 {
		length = le.Uint64(b[136:])
	}
	if off := le.Uint64(b[128:]); off < maxOnDisk && length < maxOnDisk {
		m.off, m.size = int64(off)*sector, int64(length)*sector
	}
	return m
}

// within cuts the data to what there is.
func (m Member) within(size int64) Member {
	m.size = max(0, min(m.size, size-m.off))
	return m
}

// Array is an array of MD, as far as its members are here.
type Array struct {
	UUID    string
	Version string // of the superblocks
	Level   int
	Members []string    // volumes that have its data, by their places
	Missing int         // how many it lacks
	R       io.ReaderAt // nil: it cannot be read, Problem says why
	Size    int64
	Problem string

	name string
}

// Volume is what the array is called here.
func (a *Array) Volume() string { return "md/" + a.name }

// Arrays puts members together. Those that were left behind, when the others went on
// without them, are not among the members of an array.
func Arrays(members []Member) []Array {
	var all []Array
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.Array] {
			continue
		}
		seen[m.Array] = true
		of := current(members, m.Array)
		a := Array{UUID: m.Array, Version: m.Version, Level: m.Level, Missing: max(0, m.Disks-len(of)), name: plainName(m.Name)}
		if slices.ContainsFunc(all, func(b Array) bool { return b.name == a.name }) {
			a.name += "_" + m.Array
		}
		for _, o := range of {
			a.Members = append(a.Members, o.Volume)
		}
		if err := a.read(m, of); err != nil {
			a.Problem = fmt.Sprintf("a member of an MD array of level %d over %d disks: %v", m.Level, m.Disks, err)
		}
		all = append(all, a)
	}
	return all
}

var notPlain = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// plainName is one that can be that of a file. An array without a name is the first.
func plainName(name string) string { return cmp.Or(notPlain.ReplaceAllString(name, "_"), "0") }

// current are the members of an array that have its data, by their places. As in the
// kernel, one may have missed the last change of the superblock.
func current(members []Member, array string) []Member {
	var of []Member
	var last uint64
	for _, m := range members {
		if m.Array == array && m.Role >= 0 {
			of, last = append(of, m), max(last, m.Events)
		}
	}
	of = slices.DeleteFunc(of, func(m Member) bool { return m.Events+1 < last })
	slices.SortStableFunc(of, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Role, b.Role), -cmp.Compare(a.Events, b.Events)) })
	return slices.CompactFunc(of, func(a, b Member) bool { return a.Role == b.Role })
}

func (a *Array) read(m Member, of []Member) error {
	switch {
	case len(of) == 0:
		return invalid("what is here is a spare or was taken out: give the disk with the data")
	case m.reshaping:
		return invalid("it is being reshaped: finish that where it came from")
	case m.Level == Mirror:
		newest := slices.MaxFunc(of, func(a, b Member) int { return cmp.Compare(a.Events, b.Events) })
		return a.join([]segment{{size: newest.size, stripe: newest.size, legs: []leg{{newest.r, newest.off, newest.Volume}}}})
	case m.Level != Linear && m.Level != Striped && m.Level != Mirrored:
		return invalid("only mirrors, stripes and linear ones can be read")
	case m.Chunk < 0 || m.Chunk > 1<<30 || m.Chunk == 0 && m.Level != Linear || m.Disks > maxStripes:
		return invalid("it makes no sense")
	case m.Level != Mirrored && a.Missing > 0:
		return invalid("%d of its disks are missing", a.Missing)
	case m.Level == Linear:
		return a.join(inRow(of))
	}
	return a.stripe(m, of)
}

// inRow is one member behind the other.
func inRow(of []Member) []segment {
	var all []segment
	var at int64
	for _, m := range of {
		size := m.size
		if m.Chunk > 0 {
			size -= size % m.Chunk
		}
		if size > 0 {
			all = append(all, segment{at, size, size, []leg{{m.r, m.off, m.Volume}}})
			at += size
		}
	}
	return all
}

// stripe joins members chunk by chunk: each one, or of several with the same data the
// first that is here. What differs in size has stripes over fewer members at its end,
// and what does not divide evenly has no such groups: the kernel reads that, we do not.
func (a *Array) stripe(m Member, of []Member) error {
	copies := 1
	if m.Level == Mirrored {
		if copies = int(m.Layout & 0xff); m.Layout>>8 != 1 || copies < 1 || m.Disks%copies != 0 {
			return invalid("its layout %#x cannot be read, only near copies that divide its disks", m.Layout)
		}
	}
	s := segment{stripe: m.Chunk}
	for group := range m.Disks / copies {
		i := slices.IndexFunc(of, func(o Member) bool { return o.Role/copies == group })
		if i < 0 {
			return invalid("all disks with a part of its data are missing")
		}
		if of[i].size/m.Chunk != of[0].size/m.Chunk {
			return invalid("its disks are not of the same size")
		}
		s.legs = append(s.legs, leg{of[i].r, of[i].off, of[i].Volume})
		s.size += of[i].size / m.Chunk * m.Chunk
	}
	return a.join([]segment{s})
}

func (a *Array) join(segments []segment) error {
	for _, s := range segments {
		a.Size += s.size
	}
	if a.Size <= 0 {
		return invalid("it has no data")
	}
	a.R = &mapping{a.Size, segments}
	return nil
}
