// Package iso reads ISO 9660 filesystems, with the names of Rock Ridge or Joliet
// where there are any.
//
// It reads from the io.ReaderAt it is given and touches nothing else. The layout
// is that of ECMA-119, and of the Rock Ridge Interchange Protocol, 1.12.
package iso

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
	sector       = 2048
	firstVolume  = 16
	maxVolumes   = 64
	recordHead   = 33
	flagDir      = 2
	flagMore     = 0x80 // of a file in several extents
	maxDirBytes  = 64 << 20
	maxContinued = 4
)

type volume struct {
	r      io.ReaderAt
	info   filesystem.Info
	root   []byte // record
	joliet bool
	skip   int // bytes before the system use entries
	rock   bool
}

// Is reports whether an ISO 9660 begins at the start of r.
func Is(r io.ReaderAt) bool {
	b, err := block.Read(r, firstVolume*sector, 6)
	return err == nil && string(b[1:]) == "CD001"
}

// Open opens a filesystem.
func Open(r io.ReaderAt) (filesystem.Volume, error) {
	v := &volume{r: r}
	var joliet []byte
	for i := range int64(maxVolumes) {
		b, err := block.Read(r, (firstVolume+i)*sector, sector)
		if err != nil {
			return nil, err
		}
		if string(b[1:6]) != "CD001" || b[0] == 255 {
			break
		}
		switch {
		case b[0] == 1 && v.root == nil:
			v.primary(b)
		case b[0] == 2 && strings.HasPrefix(string(b[88:]), "%/"):
			joliet = b[156:190]
		}
	}
	if v.root == nil {
		return nil, filesystem.Broken("iso9660: no primary volume")
	}
	if err := v.probeRock(); err != nil {
		return nil, err
	}
	if !v.rock && joliet != nil {
		v.root, v.joliet = joliet, true
	}
	return v, nil
}

func (v *volume) primary(b []byte) {
	v.root = b[156:190]
	blocks := int64(binary.LittleEndian.Uint32(b[80:]))
	stamp := string(b[813:829])
	v.info = filesystem.Info{
		Kind: "iso9660", Label: strings.ToValidUTF8(strings.TrimRight(string(b[40:72]), " "), "?"), Size: blocks * sector, FoldCase: true,
	}
	if strings.Trim(stamp, "0123456789") == "" {
		v.info.UUID = fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", stamp[:4], stamp[4:6], stamp[6:8], stamp[8:10], stamp[10:12], stamp[12:14], stamp[14:])
	}
}

// probeRock looks for the mark of the System Use Sharing Protocol at the first
// entry of the root.
func (v *volume) probeRock() error {
	at := int64(binary.LittleEndian.Uint32(v.root[2:])) * sector
	b, err := block.Read(v.r, at, sector)
	if err != nil {
		return err
	}
	length := int(b[0])
	if length >= recordHead+1+7 && string(b[34:36]) == "SP" && b[38] == 0xbe && b[39] == 0xef {
		v.rock, v.skip, v.info.FoldCase = true, int(b[40]), false
	}
	return nil
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) {
	return v.node(v.root), nil
}

type node struct {
	v     *volume
	stat  filesystem.Stat
	parts []part
	link  string
}

// part is one extent of a file.
type part struct{ at, size int64 }

func (v *volume) node(rec []byte) *node {
	le := binary.LittleEndian
	p := part{int64(le.Uint32(rec[2:])) * sector, int64(le.Uint32(rec[10:]))}
	n := &node{v: v, parts: []part{p}, stat: filesystem.Stat{Mode: 0o644, Size: p.size, ID: uint64(p.at)}}
	if rec[25]&flagDir != 0 {
		n.stat.Mode = fs.ModeDir | 0o755
	}
	return n
}

func (n *node) Stat() filesystem.Stat { return n.stat }

func (n *node) ReadAt(p []byte, off int64) (int, error) {
	if n.stat.IsLink() {
		return strings.NewReader(n.link).ReadAt(p, off)
	}
	q, done := block.Clip(p, off, n.stat.Size)
	if done {
		return 0, io.EOF
	}
	k := 0
	for _, e := range n.parts {
		if off >= e.size {
			off -= e.size
			continue
		}
		piece := q[k:min(int64(len(q)), int64(k)+e.size-off)]
		if err := block.Full(n.v.r, piece, e.at+off); err != nil {
			return k, err
		}
		k, off = k+len(piece), 0
	}
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

// List reads a directory; records do not cross sectors, zeros fill the rest.
func (n *node) List(fn func(filesystem.Entry) error) error {
	if !n.stat.IsDir() || n.stat.Size > maxDirBytes {
		return filesystem.Broken("iso9660: not a folder, or one of %d bytes", n.stat.Size)
	}
	var open *node
	b := make([]byte, sector)
	for off := int64(0); off < n.stat.Size; off += sector {
		if err := block.Full(n.v.r, b, n.parts[0].at+off); err != nil {
			return err
		}
		for rest := b; len(rest) > recordHead && rest[0] != 0; rest = rest[rest[0]:] {
			length, name := int(rest[0]), int(rest[32])
			if length < recordHead+name || length > len(rest) || name == 0 {
				return filesystem.Broken("iso9660: an entry makes no sense")
			}
			rec := append([]byte(nil), rest[:length]...)
			if rec[recordHead] <= 1 && name == 1 {
				continue // itself and its parent
			}
			c := n.v.node(rec)
			if open != nil { // a further extent of the file before
				open.parts = append(open.parts, c.parts...)
				open.stat.Size += c.stat.Size
				c = open
			}
			if open = nil; rec[25]&flagMore != 0 {
				open = c
				continue
			}
			if err := fn(n.v.entry(c, rec)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *volume) entry(n *node, rec []byte) filesystem.Entry {
	raw := rec[recordHead : recordHead+int(rec[32])]
	name := ""
	switch {
	case v.rock:
		name = v.rockRidge(n, rec)
	case v.joliet:
		var u []uint16
		for i := 0; i+1 < len(raw); i += 2 {
			u = append(u, binary.BigEndian.Uint16(raw[i:]))
		}
		name = string(utf16.Decode(u))
	}
	if name == "" {
		name = strings.ToValidUTF8(string(raw), "?")
	}
	if !v.rock {
		name, _, _ = strings.Cut(name, ";")
		name = strings.TrimSuffix(name, ".")
	}
	return filesystem.Entry{Name: name, Open: func() (filesystem.Node, error) { return n, nil }}
}
