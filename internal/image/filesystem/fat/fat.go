// Package fat reads FAT12, FAT16 and FAT32 filesystems with long names.
//
// It reads from the io.ReaderAt it is given and touches nothing else. The layout
// is that of Microsoft's "FAT: General Overview of On-Disk Format" of 2000.
package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	bootBytes  = 512
	entryBytes = 32
	longName   = 0x0f
	attrVolume = 0x08
	attrDir    = 0x10
	deleted    = 0xe5
	maxLong    = 20 // pieces of a long name
	fat12Most  = 4085
	fat16Most  = 65525
	maxDirSize = 16 << 20 // bytes
)

type volume struct {
	r                   io.ReaderAt
	info                filesystem.Info
	bits                int
	cluster             int64 // bytes
	fat, rootAt, dataAt int64 // places
	rootBytes           int64 // of the fixed root of FAT12 and FAT16
	rootCluster         int64
	clusters            int64
}

// Is reports whether a FAT filesystem begins at the start of r.
func Is(r io.ReaderAt) bool {
	b, err := block.Read(r, 0, bootBytes)
	if err != nil || b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 {
		return false
	}
	return new(volume).parse(b) == nil
}

// Open opens a filesystem.
func Open(r io.ReaderAt) (filesystem.Volume, error) {
	b, err := block.Read(r, 0, bootBytes)
	if err != nil {
		return nil, err
	}
	v := &volume{r: r}
	return v, v.parse(b)
}

func (v *volume) parse(b []byte) error {
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, fats, entries := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	total, fatSize := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	wide := fatSize == 0
	if wide {
		fatSize = int64(le.Uint32(b[36:]))
	}
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || fats == 0 || fats > 2 || fatSize == 0 {
		return filesystem.Broken("fat: the boot sector makes no sense")
	}
	v.fat = reserved * sector
	v.rootAt = v.fat + fats*fatSize*sector
	v.rootBytes = entries * entryBytes
	v.dataAt = v.rootAt + (v.rootBytes+sector-1)/sector*sector
	v.cluster = sector * perCluster
	v.clusters = (total*sector - v.dataAt) / v.cluster
	if v.clusters <= 0 || v.clusters > 1<<28 {
		return filesystem.Broken("fat: %d clusters", v.clusters)
	}
	at := 38
	switch {
	case wide:
		v.bits, at, v.rootCluster = 32, 66, int64(le.Uint32(b[44:]))
	case v.clusters < fat12Most:
		v.bits = 12
	case v.clusters < fat16Most:
		v.bits = 16
	default:
		return filesystem.Broken("fat: %d clusters", v.clusters)
	}
	v.info = filesystem.Info{Kind: "vfat", Size: total * sector, Free: -1, FoldCase: true}
	if b[at] == 0x29 {
		id := le.Uint32(b[at+1:])
		v.info.UUID = fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)
		if l := strings.TrimSpace(string(b[at+5 : at+16])); l != "NO NAME" {
			v.info.Label = strings.ToValidUTF8(l, "?")
		}
	}
	return nil
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) {
	n := &node{v: v, mode: fs.ModeDir | 0o755, size: maxDirSize, first: v.rootCluster}
	if v.bits != 32 {
		n.fixed = block.Section(v.r, v.rootAt, v.rootBytes)
	}
	return n, nil
}

// next follows the chain of clusters; 0 ends it.
func (v *volume) next(c int64) (int64, error) {
	b, err := block.Read(v.r, v.fat+c*int64(v.bits)/8, 4)
	if err != nil {
		return 0, err
	}
	n := int64(binary.LittleEndian.Uint32(b))
	switch {
	case v.bits == 12 && c%2 == 1:
		n = n >> 4 & 0xfff
	case v.bits == 12:
		n &= 0xfff
	case v.bits == 16:
		n &= 0xffff
	default:
		n &= 0xfffffff
	}
	if n < 2 || n >= v.clusters+2 {
		return 0, nil
	}
	return n, nil
}

type node struct {
	v     *volume
	mode  fs.FileMode
	size  int64
	first int64 // cluster
	fixed *io.SectionReader

	cluster, index int64 // where the last read was
}

func (n *node) Stat() filesystem.Stat {
	s := filesystem.Stat{Mode: n.mode, Size: n.size, ID: uint64(n.first)}
	if n.mode.IsDir() {
		s.Size = 0
	}
	return s
}

func (n *node) ReadAt(p []byte, off int64) (int, error) {
	if n.fixed != nil {
		return n.fixed.ReadAt(p, off)
	}
	q, done := block.Clip(p, off, n.size)
	if done {
		return 0, io.EOF
	}
	k := 0
	for k < len(q) {
		at := off + int64(k)
		c, err := n.seek(at / n.v.cluster)
		if err != nil {
			return k, err
		}
		if c == 0 {
			return k, io.EOF
		}
		piece := q[k:min(int64(len(q)), int64(k)+n.v.cluster-at%n.v.cluster)]
		if err := block.Full(n.v.r, piece, n.v.dataAt+(c-2)*n.v.cluster+at%n.v.cluster); err != nil {
			return k, err
		}
		k += len(piece)
	}
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

// seek gives the cluster of an index, going on from the last one where it can.
func (n *node) seek(index int64) (int64, error) {
	if n.cluster == 0 || index < n.index {
		n.cluster, n.index = n.first, 0
		if n.first < 2 || n.first >= n.v.clusters+2 {
			n.cluster = 0
			return 0, nil
		}
	}
	for n.index < index {
		c, err := n.v.next(n.cluster)
		if err != nil || c == 0 {
			n.cluster = 0
			return 0, err
		}
		n.cluster = c
		n.index++
	}
	return n.cluster, nil
}

// List reads a directory. A long name stands in pieces before its entry, the
// last piece first.
func (n *node) List(fn func(filesystem.Entry) error) error {
	if !n.mode.IsDir() {
		return filesystem.Broken("fat: not a folder")
	}
	var long []uint16
	e := make([]byte, entryBytes)
	for off := int64(0); off < maxDirSize; off += entryBytes {
		if _, err := io.ReadFull(io.NewSectionReader(n, off, entryBytes), e); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return nil
			}
			return err
		}
		switch {
		case e[0] == 0:
			return nil
		case e[0] == deleted:
			long = nil
			continue
		case e[11]&longName == longName:
			long = append(piece(e), long...)
			if len(long) > maxLong*13 {
				long = nil
			}
			continue
		}
		name := text(long)
		long = nil
		if name == "" {
			name = shortName(e)
		}
		if e[11]&attrVolume != 0 || e[0] == '.' {
			continue
		}
		if err := fn(filesystem.Entry{Name: name, Open: n.opener(append([]byte(nil), e...))}); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) opener(e []byte) func() (filesystem.Node, error) {
	return func() (filesystem.Node, error) {
		le := binary.LittleEndian
		c := &node{v: n.v, mode: 0o755, size: int64(le.Uint32(e[28:])), first: int64(le.Uint16(e[26:])) | int64(le.Uint16(e[20:]))<<16}
		if n.v.bits != 32 {
			c.first &= 0xffff
		}
		if e[11]&attrDir != 0 {
			c.mode, c.size = fs.ModeDir|0o755, maxDirSize
		}
		return c, nil
	}
}

func piece(e []byte) []uint16 {
	var u []uint16
	for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := r[0]; i < r[1]; i += 2 {
			u = append(u, binary.LittleEndian.Uint16(e[i:]))
		}
	}
	return u
}

func text(u []uint16) string {
	for i, c := range u {
		if c == 0 {
			return string(utf16.Decode(u[:i]))
		}
	}
	return string(utf16.Decode(u))
}

// shortName is 8.3; two bits say whether it was written in lower case.
func shortName(e []byte) string {
	base, extension := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&0x10 != 0 {
		extension = strings.ToLower(extension)
	}
	name := base
	if extension != "" {
		name += "." + extension
	}
	return strings.ToValidUTF8(name, "?")
}
