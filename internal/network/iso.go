package network

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// This file writes just as much ISO 9660 (ECMA-119) as a seed needs: one
// directory of small files. Rock Ridge (IEEE P1282) carries their names, for
// plain ISO 9660 has no hyphen and no lower case.

const isoSector = 2048

// What lies where, in sectors.
const (
	sectorVolume = 16 + iota // the first 16 are the system area
	sectorEnd
	sectorPathLE
	sectorPathBE
	sectorRoot
	sectorFiles
)

type isoFile struct {
	name string
	data []byte
}

func writeISO(w io.Writer, label string, files []isoFile) error {
	var body bytes.Buffer
	entries := []isoEntry{
		{id: "\x00", sector: sectorRoot, size: isoSector, first: true},
		{id: "\x01", sector: sectorRoot, size: isoSector},
	}
	for _, f := range files {
		sector := sectorFiles + body.Len()/isoSector
		entries = append(entries, isoEntry{id: strings.ToUpper(f.name) + ";1", name: f.name, sector: sector, size: len(f.data)})
		body.Write(f.data)
		pad(&body)
	}
	var image bytes.Buffer
	image.Write(make([]byte, sectorVolume*isoSector))
	image.Write(volumeDescriptor(label, sectorFiles+body.Len()/isoSector))
	image.Write(append([]byte{255, 'C', 'D', '0', '0', '1', 1}, make([]byte, isoSector-7)...))
	image.Write(pathTable(binary.LittleEndian))
	image.Write(pathTable(binary.BigEndian))
	for _, e := range entries {
		image.Write(e.record())
	}
	pad(&image)
	image.Write(body.Bytes())
	_, err := image.WriteTo(w)
	return err
}

func pad(b *bytes.Buffer) {
	if rest := b.Len() % isoSector; rest != 0 {
		b.Write(make([]byte, isoSector-rest))
	}
}

// volumeDescriptor is the primary volume descriptor (ECMA-119, 8.4).
func volumeDescriptor(label string, sectors int) []byte {
	d := bytes.Repeat([]byte{' '}, isoSector)
	clear(d[881:]) // structure version, application use
	d[881] = 1
	copy(d, "\x01CD001\x01\x00")
	copy(d[40:72], label+string(bytes.Repeat([]byte{' '}, 32-len(label))))
	clear(d[72:80])
	copy(d[80:], both32(sectors))
	clear(d[88:120])
	copy(d[120:], both16(1)) // volumes in the set
	copy(d[124:], both16(1)) // of which this is
	copy(d[128:], both16(isoSector))
	copy(d[132:], both32(len(pathRecord(binary.LittleEndian))))
	binary.LittleEndian.PutUint32(d[140:], sectorPathLE)
	clear(d[144:148])
	binary.BigEndian.PutUint32(d[148:], sectorPathBE)
	clear(d[152:156])
	root := isoEntry{id: "\x00", sector: sectorRoot, size: isoSector}
	copy(d[156:190], root.plain(0))
	for _, at := range []int{813, 830, 847, 864} { // dates: none given
		copy(d[at:], "0000000000000000\x00")
	}
	return d
}

func pathTable(order binary.AppendByteOrder) []byte {
	record := pathRecord(order)
	return append(record, make([]byte, isoSector-len(record))...)
}

// pathRecord is the only record of the path table: the root.
func pathRecord(order binary.AppendByteOrder) []byte {
	r := order.AppendUint32([]byte{1, 0}, sectorRoot)
	return append(order.AppendUint16(r, 1), 0, 0)
}

// isoEntry is a directory record (ECMA-119, 9.1).
type isoEntry struct {
	id     string
	name   string // in Rock Ridge; empty: a directory
	sector int
	size   int  // bytes
	first  bool // of the root directory, which announces Rock Ridge
}

func (e isoEntry) record() []byte {
	rockRidge := e.rockRidge()
	return append(e.plain(len(rockRidge)), rockRidge...)
}

// plain is the record without Rock Ridge, but with extra bytes of room for it.
func (e isoEntry) plain(extra int) []byte {
	r := make([]byte, 33, 34+len(e.id)+extra)
	copy(r[2:], both32(e.sector))
	copy(r[10:], both32(e.size))
	copy(r[18:], []byte{70, 1, 1, 0, 0, 0, 0}) // 1970: the same seed gives the same bytes
	if e.name == "" {
		r[25] = 2
	}
	copy(r[28:], both16(1))
	r[32] = byte(len(e.id))
	r = append(r, e.id...)
	if len(r)%2 == 1 {
		r = append(r, 0)
	}
	r[0] = byte(len(r) + extra)
	return r
}

// rockRidge makes the system use entries: PX gives the mode, NM the name; SP and
// ER, in the first record, say that the others mean something.
func (e isoEntry) rockRidge() []byte {
	mode := 0o100444
	if e.name == "" {
		mode = 0o040555
	}
	var s []byte
	if e.first {
		s = append(s, 'S', 'P', 7, 1, 0xbe, 0xef, 0)
	}
	s = append(s, 'P', 'X', 36, 1)
	for _, v := range []int{mode, 1, 0, 0} { // mode, links, user, group
		s = append(s, both32(v)...)
	}
	if e.first {
		s = append(s, 'E', 'R', 18, 1, 10, 0, 0, 1)
		s = append(s, "RRIP_1991A"...)
	}
	if e.name != "" {
		s = append(s, 'N', 'M', byte(5+len(e.name)), 1, 0)
		s = append(s, e.name...)
	}
	if len(s)%2 == 1 {
		s = append(s, 0)
	}
	return s
}

func both32(v int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(v))
	return binary.BigEndian.AppendUint32(b, uint32(v))
}

func both16(v int) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(v))
	return binary.BigEndian.AppendUint16(b, uint16(v))
}
