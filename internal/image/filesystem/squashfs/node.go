package squashfs

import (
	"encoding/binary"
	"io"
	"io/fs"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

// The types of inodes.
const (
	basicDir     = 1
	basicFile    = 2
	basicLink    = 3
	extendedDir  = 8
	extendedFile = 9
	extendedLink = 10
	inodeHead    = 16
	maxLink      = 4096
	maxBlocks    = 1 << 20 // of a file
)

type node struct {
	v    *volume
	stat filesystem.Stat
	link string

	// of a directory
	dir stream

	// of a file
	at       int64
	sizes    []uint32 // of its blocks, packed
	offsets  []int64
	fragment uint32
	fragOff  int64
}

func (v *volume) open(ref uint64) func() (filesystem.Node, error) {
	return func() (filesystem.Node, error) {
		s := &stream{v: v, place: v.inodes + int64(ref>>16&(1<<40-1)), off: int(ref & 0xffff)}
		h, err := s.take(inodeHead)
		if err != nil {
			return nil, err
		}
		le := binary.LittleEndian
		n := &node{v: v, fragment: noFragment, stat: filesystem.Stat{Mode: fs.FileMode(le.Uint16(h[2:]) & 0o777), ID: uint64(le.Uint32(h[12:]))}}
		switch kind := le.Uint16(h); kind {
		case basicDir, extendedDir:
			err = n.readDir(s, kind == extendedDir)
		case basicFile, extendedFile:
			err = n.readFile(s, kind == extendedFile)
		case basicLink, extendedLink:
			err = n.readLink(s)
		default:
			n.stat.Mode |= fs.ModeIrregular // devices, pipes and sockets have nothing to read
		}
		if err != nil {
			return nil, err
		}
		return n, nil
	}
}

func (n *node) readDir(s *stream, extended bool) error {
	le := binary.LittleEndian
	n.stat.Mode |= fs.ModeDir
	length := 16
	if extended {
		length = 24
	}
	b, err := s.take(length)
	if err != nil {
		return err
	}
	place, size, off := le.Uint32(b), int64(le.Uint16(b[8:])), le.Uint16(b[10:])
	if extended {
		place, size, off = le.Uint32(b[8:]), int64(le.Uint32(b[4:])), le.Uint16(b[18:])
	}
	n.stat.Size = max(0, size-3) // the two entries that are not there
	n.dir = stream{v: n.v, place: n.v.dirs + int64(place), off: int(off)}
	return nil
}

func (n *node) readLink(s *stream) error {
	b, err := s.take(8)
	if err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(b[4:])
	if size > maxLink {
		return filesystem.Broken("squashfs: a link of %d bytes", size)
	}
	if b, err = s.take(int(size)); err != nil {
		return err
	}
	n.stat.Mode |= fs.ModeSymlink
	n.link, n.stat.Size = string(b), int64(size)
	return nil
}

func (n *node) readFile(s *stream, extended bool) error {
	le := binary.LittleEndian
	length := 16
	if extended {
		length = 40
	}
	b, err := s.take(length)
	if err != nil {
		return err
	}
	if extended {
		n.at, n.stat.Size, n.fragment, n.fragOff = int64(le.Uint64(b)), int64(le.Uint64(b[8:])), le.Uint32(b[28:]), int64(le.Uint32(b[32:]))
	} else {
		n.at, n.fragment, n.fragOff, n.stat.Size = int64(le.Uint32(b)), le.Uint32(b[4:]), int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))
	}
	blocks := n.stat.Size / n.v.blockSize
	if n.fragment == noFragment && n.stat.Size%n.v.blockSize != 0 {
		blocks++
	}
	if n.stat.Size < 0 || blocks > maxBlocks {
		return filesystem.Broken("squashfs: a file of %d bytes", n.stat.Size)
	}
	if b, err = s.take(int(blocks) * 4); err != nil {
		return err
	}
	at := n.at
	for i := range int(blocks) {
		size := le.Uint32(b[i*4:])
		n.sizes, n.offsets = append(n.sizes, size), append(n.offsets, at)
		at += int64(size &^ dataPlain)
	}
	return nil
}

func (n *node) Stat() filesystem.Stat { return n.stat }

func (n *node) ReadAt(p []byte, off int64) (int, error) {
	if n.stat.IsLink() {
		return strings.NewReader(n.link).ReadAt(p, off)
	}
	q, done := block.Clip(p, off, n.stat.Size)
	if done || n.stat.IsDir() {
		return 0, io.EOF
	}
	k := 0
	for k < len(q) {
		at := off + int64(k)
		piece := q[k:min(int64(len(q)), int64(k)+n.v.blockSize-at%n.v.blockSize)]
		if err := n.readBlock(piece, at); err != nil {
			return k, err
		}
		k += len(piece)
	}
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

// readBlock fills p, which lies in one block; one of size 0 is a hole.
func (n *node) readBlock(p []byte, at int64) error {
	i, within := at/n.v.blockSize, at%n.v.blockSize
	var b []byte
	var err error
	switch {
	case i >= int64(len(n.sizes)):
		if b, err = n.v.fragment(n.fragment); err != nil {
			return err
		}
		within += n.fragOff
	case n.sizes[i]&^dataPlain == 0:
		clear(p)
		return nil
	default:
		key, err := dataKey(n.offsets[i], n.sizes[i])
		if err != nil {
			return err
		}
		if b, err = n.v.data.Get(key); err != nil {
			return err
		}
	}
	if within+int64(len(p)) > int64(len(b)) {
		return filesystem.Broken("squashfs: a block is too short")
	}
	copy(p, b[within:])
	return nil
}

const (
	dirHead  = 12
	dirEntry = 8
)

// List reads a directory: runs of entries whose inodes are near each other.
func (n *node) List(fn func(filesystem.Entry) error) error {
	if !n.stat.IsDir() {
		return filesystem.Broken("squashfs: not a folder")
	}
	le := binary.LittleEndian
	s := n.dir
	for left := n.stat.Size; left > 0; {
		h, err := s.take(dirHead)
		if err != nil {
			return err
		}
		left -= dirHead
		start := uint64(le.Uint32(h[4:]))
		for range uint64(le.Uint32(h)) + 1 {
			if left <= 0 {
				return filesystem.Broken("squashfs: a folder makes no sense")
			}
			e, err := s.take(dirEntry)
			if err != nil {
				return err
			}
			name, err := s.take(int(le.Uint16(e[6:])) + 1)
			if err != nil {
				return err
			}
			left -= int64(dirEntry + len(name))
			if err := fn(filesystem.Entry{Name: string(name), Open: n.v.open(start<<16 | uint64(le.Uint16(e)))}); err != nil {
				return err
			}
		}
	}
	return nil
}
