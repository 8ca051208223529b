package disk

import (
	"encoding/binary"
	"io"
	"strconv"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
)

const (
	lvmLabels   = 4 // sectors in which the label may be
	lvmMaxAreas = 16
	mdaHeader   = 512
	mdaMagic    = " LVM2 x[5A%r0N*>"
	maxStripes  = 128
	maxSegments = 100_000
)

// PhysicalVolume is a partition that LVM uses.
type PhysicalVolume struct {
	Name string // of the partition
	UUID string
	R    io.ReaderAt
	Size int64
	text string
}

// LogicalVolume is a volume made from pieces of physical volumes.
type LogicalVolume struct {
	Group, Name string
	UUID        string      // of the group and of the volume, without hyphens
	R           io.ReaderAt // nil: it cannot be read, Problem says why
	Size        int64
	Problem     string
	Pieces      []Piece // in order, without holes
}

// Piece is a part of a logical volume. Start, Size and Stripe are bytes; the bytes
// lie in turn on each leg, Stripe at a time.
type Piece struct {
	Start, Size, Stripe int64
	Legs                []Leg
}

// Leg is where on a physical volume a piece begins, in bytes.
type Leg struct {
	Volume string // the Name of the physical volume
	Base   int64
}

// IsPhysicalVolume reports whether r begins with the label of LVM2.
func IsPhysicalVolume(r io.ReaderAt) bool {
	_, err := lvmLabel(r)
	return err == nil
}

func lvmLabel(r io.ReaderAt) ([]byte, error) {
	b, err := block.Read(r, 0, lvmLabels*sector)
	if err != nil {
		return nil, err
	}
	for i := range lvmLabels {
		l := b[i*sector : (i+1)*sector]
		if string(l[:8]) == "LABELONE" && string(l[24:32]) == "LVM2 001" {
			return l, nil
		}
	}
	return nil, invalid("no LVM2 label")
}

// OpenPhysicalVolume reads label and metadata of a physical volume. The layout
// is that of lib/format_text/layout.h of LVM2.
func OpenPhysicalVolume(name string, r io.ReaderAt, size int64) (*PhysicalVolume, error) {
	l, err := lvmLabel(r)
	if err != nil {
		return nil, err
	}
	header := binary.LittleEndian.Uint32(l[20:])
	if header > sector-40 {
		return nil, invalid("LVM: physical volume %s: its label makes no sense", name)
	}
	h := l[header:]
	pv := &PhysicalVolume{Name: name, UUID: string(h[:32]), R: r, Size: size}
	for _, at := range metadataAreas(h[40:]) {
		if pv.text, err = metadataText(r, at); err == nil && pv.text != "" {
			return pv, nil
		}
	}
	return pv, nil // metadata may be on the other volumes of the group
}

type area struct{ off, size int64 }

// metadataAreas skips the list of data areas and gives the second list.
func metadataAreas(b []byte) []area {
	var areas []area
	lists := 0
	for ; len(b) >= 16 && lists < 2 && len(areas) < lvmMaxAreas; b = b[16:] {
		a := area{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))}
		switch {
		case a.off == 0:
			lists++
		case lists == 1:
			areas = append(areas, a)
		}
	}
	return areas
}

// metadataText reads the current text out of the ring that an area is.
func metadataText(r io.ReaderAt, a area) (string, error) {
	b, err := block.Read(r, a.off, mdaHeader)
	if err != nil {
		return "", err
	}
	le := binary.LittleEndian
	if string(b[4:20]) != mdaMagic {
		return "", invalid("LVM: a metadata area makes no sense")
	}
	off, size := le.Uint64(b[40:]), le.Uint64(b[48:])
	if size == 0 {
		return "", nil
	}
	if a.size <= mdaHeader || off < mdaHeader || off >= uint64(a.size) || size > maxLVMText || size > uint64(a.size)-mdaHeader {
		return "", invalid("LVM: the metadata lie outside their area")
	}
	first := min(int64(size), a.size-int64(off))
	text, err := block.Read(r, a.off+int64(off), int(first))
	if err != nil {
		return "", err
	}
	rest, err := block.Read(r, a.off+mdaHeader, int(int64(size)-first))
	return string(text) + string(rest), err
}

// LogicalVolumes gives the volumes of all groups of which there is metadata.
// One that needs a missing disk, or a kind of mapping that we lack, has a
// Problem instead of a reader.
func LogicalVolumes(pvs []*PhysicalVolume) ([]LogicalVolume, error) {
	var all []LogicalVolume
	seen := map[string]bool{}
	for _, pv := range pvs {
		if pv.text == "" {
			continue
		}
		root, err := parseLVMText(pv.text)
		if err != nil {
			return all, err
		}
		for _, name := range root.order {
			vg := root.part(name)
			if id := vg.text("id"); seen[id] || id == "" {
				continue
			}
			seen[vg.text("id")] = true
			all = append(all, volumesOf(name, vg, pvs)...)
		}
	}
	return all, nil
}

func volumesOf(group string, vg *section, pvs []*PhysicalVolume) []LogicalVolume {
	var all []LogicalVolume
	lvs := vg.part("logical_volumes")
	for _, name := range lvs.order[:min(len(lvs.order), maxParts)] {
		lv := LogicalVolume{Group: group, Name: name, UUID: bare(vg.text("id")) + bare(lvs.part(name).text("id"))}
		m, err := mapSegments(vg, lvs.part(name), pvs)
		if err != nil {
			lv.Problem = err.Error()
		} else {
			lv.R, lv.Size, lv.Pieces = m, m.size, m.pieces()
		}
		if visible(lvs.part(name)) {
			all = append(all, lv)
		}
	}
	return all
}

// bare is an identifier of LVM as the device mapper has it.
func bare(id string) string { return strings.ReplaceAll(id, "-", "") }

func visible(lv *section) bool {
	for _, s := range lv.values["status"] {
		if s == "VISIBLE" {
			return true
		}
	}
	return false
}

// mapping is a logical volume: segments in order.
type mapping struct {
	size     int64
	segments []segment
}

type segment struct {
	start, size int64 // bytes
	stripe      int64 // bytes in a row on one leg
	legs        []leg
}

type leg struct {
	r    io.ReaderAt
	base int64  // bytes
	on   string // name of the physical volume
}

func (m *mapping) pieces() []Piece {
	var all []Piece
	for _, s := range m.segments {
		p := Piece{Start: s.start, Size: s.size, Stripe: s.stripe}
		for _, l := range s.legs {
			p.Legs = append(p.Legs, Leg{l.on, l.base})
		}
		all = append(all, p)
	}
	return all
}

func mapSegments(vg, lv *section, pvs []*PhysicalVolume) (*mapping, error) {
	extent, ok := vg.number("extent_size")
	if !ok || extent == 0 || extent > 1<<30 {
		return nil, invalid("an extent size of %q sectors", vg.text("extent_size"))
	}
	extent *= sector
	m := &mapping{}
	for i := 1; i <= len(lv.order) && i <= maxSegments; i++ {
		s := lv.part("segment" + strconv.Itoa(i))
		if len(s.values) == 0 {
			break
		}
		g, err := mapSegment(vg, s, extent, pvs)
		if err != nil {
			return nil, err
		}
		if g.start != m.size {
			return nil, invalid("its segments leave a hole")
		}
		m.segments = append(m.segments, g)
		m.size += g.size
	}
	if m.size == 0 {
		return nil, invalid("it has no segments")
	}
	return m, nil
}

func mapSegment(vg, s *section, extent int64, pvs []*PhysicalVolume) (segment, error) {
	start, ok1 := s.number("start_extent")
	count, ok2 := s.number("extent_count")
	legs := s.values["stripes"]
	if kind := s.text("type"); kind != "striped" && kind != "linear" {
		return segment{}, invalid("a segment of type %s cannot be read", kind)
	}
	if most := int64(1<<62) / extent; !ok1 || !ok2 || count == 0 || start > most/2 || count > most/2 || len(legs) == 0 || len(legs)%2 != 0 || len(legs) > 2*maxStripes {
		return segment{}, invalid("a segment makes no sense")
	}
	g := segment{start: start * extent, size: count * extent, stripe: count * extent}
	if len(legs) > 2 {
		stripe, ok := s.number("stripe_size")
		if !ok || stripe == 0 || stripe > 1<<30 {
			return segment{}, invalid("stripes of %q sectors", s.text("stripe_size"))
		}
		g.stripe = stripe * sector
	}
	for i := 0; i < len(legs); i += 2 {
		l, err := findLeg(vg, legs[i], legs[i+1], extent, pvs)
		if err != nil {
			return segment{}, err
		}
		g.legs = append(g.legs, l)
	}
	return g, nil
}

func findLeg(vg *section, name, first string, extent int64, pvs []*PhysicalVolume) (leg, error) {
	pv := vg.part("physical_volumes").part(name)
	id := bare(pv.text("id"))
	start, ok := pv.number("pe_start")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil || n < 0 || n > (1<<62)/extent {
		return leg{}, invalid("physical volume %s makes no sense", name)
	}
	for _, p := range pvs {
		if p.UUID == id {
			return leg{p.R, start*sector + n*extent, p.Name}, nil
		}
	}
	return leg{}, invalid("physical volume %s (%s) is missing: it is on another disk", name, pv.text("id"))
}

func (m *mapping) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, m.size)
	if done {
		return 0, io.EOF
	}
	n := 0
	for n < len(q) {
		k, err := m.readPiece(q[n:], off+int64(n))
		if err != nil {
			return n, err
		}
		n += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *mapping) readPiece(p []byte, at int64) (int, error) {
	lo, hi := 0, len(m.segments)-1
	for lo < hi {
		if mid := (lo + hi + 1) / 2; m.segments[mid].start <= at {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	s := &m.segments[lo]
	within := at - s.start
	legs := int64(len(s.legs))
	row, inStripe := within/s.stripe, within%s.stripe
	l := s.legs[row%legs]
	p = p[:min(int64(len(p)), s.stripe-inStripe, s.size-within)]
	return len(p), block.Full(l.r, p, l.base+row/legs*s.stripe+inStripe)
}
