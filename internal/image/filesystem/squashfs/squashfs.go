// Package squashfs reads squashfs filesystems of version 4, packed with zlib,
// LZMA, LZO, xz, lz4 or zstd.
//
// It reads from the io.ReaderAt it is given and touches nothing else. The layout
// is that of squashfs_fs.h of Linux.
package squashfs

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	magic      = "hsqs"
	superBytes = 96
	metaBytes  = 8192
	metaPlain  = 1 << 15 // not packed
	dataPlain  = 1 << 24
	noFragment = 0xffffffff
	maxBlock   = 1 << 20
	metaCache  = 256
	dataCache  = 16
)

type volume struct {
	r                     io.ReaderAt
	info                  filesystem.Info
	packing               uint16
	blockSize             int64
	used                  int64
	root                  uint64
	inodes, dirs, fragTab int64
	fragments             uint32
	meta                  *block.Pages // by place
	data                  *block.Pages // by place and size
}

// Is reports whether a squashfs begins at the start of r.
func Is(r io.ReaderAt) bool {
	b, err := block.Read(r, 0, len(magic))
	return err == nil && string(b) == magic
}

// Open opens a filesystem.
func Open(r io.ReaderAt) (filesystem.Volume, error) {
	b, err := block.Read(r, 0, superBytes)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	v := &volume{
		r: r, packing: le.Uint16(b[20:]), blockSize: int64(le.Uint32(b[12:])), root: le.Uint64(b[32:]), used: int64(le.Uint64(b[40:])),
		inodes: int64(le.Uint64(b[64:])), dirs: int64(le.Uint64(b[72:])), fragTab: int64(le.Uint64(b[80:])), fragments: le.Uint32(b[16:]),
	}
	switch {
	case le.Uint16(b[28:]) != 4:
		return nil, droveway.Missing("squashfs-version", "squashfs of version %d: 4 can be read", le.Uint16(b[28:]))
	case v.blockSize < 4096 || v.blockSize > maxBlock || v.blockSize&(v.blockSize-1) != 0 || v.used <= 0 || v.used > 1<<50 || v.inodes <= 0 || v.inodes > v.used || v.dirs <= 0 || v.dirs > v.used:
		return nil, filesystem.Broken("squashfs: the superblock makes no sense")
	}
	v.info = filesystem.Info{Kind: "squashfs", Size: v.used}
	v.meta = block.NewPages(metaCache, v.readMeta)
	v.data = block.NewPages(dataCache, v.readData)
	return v, nil
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) { return v.open(v.root)() }

// metaHead is the length before a block of metadata.
const metaHead = 2

// metaSize reads how many bytes a block of metadata has in the image.
func (v *volume) metaSize(place int64) (size int, plain bool, err error) {
	h, err := block.Read(v.r, place, metaHead)
	if err != nil {
		return 0, false, err
	}
	n := binary.LittleEndian.Uint16(h)
	size = int(n &^ metaPlain)
	if size == 0 || size > metaBytes {
		return 0, false, filesystem.Broken("squashfs: a block of metadata of %d bytes", size)
	}
	return size, n&metaPlain != 0, nil
}

func (v *volume) readMeta(place int64) ([]byte, error) {
	size, plain, err := v.metaSize(place)
	if err != nil {
		return nil, err
	}
	b, err := block.Read(v.r, place+metaHead, size)
	if err != nil || plain {
		return b, err
	}
	return unpack(v.packing, b, metaBytes)
}

// stream reads metadata in a row, across blocks.
type stream struct {
	v     *volume
	place int64 // of the block
	off   int   // in it
}

// read fills p. The length of a block is read each time, so that what comes out
// of the cache counts, too.
func (s *stream) read(p []byte) error {
	for len(p) > 0 {
		size, _, err := s.v.metaSize(s.place)
		if err != nil {
			return err
		}
		data, err := s.v.meta.Get(s.place)
		if err != nil {
			return err
		}
		if s.off > len(data) || len(data) == 0 {
			return filesystem.Broken("squashfs: a reference makes no sense")
		}
		n := copy(p, data[s.off:])
		p, s.off = p[n:], s.off+n
		if s.off == len(data) {
			s.place, s.off = s.place+metaHead+int64(size), 0
		}
	}
	return nil
}

func (s *stream) take(n int) ([]byte, error) {
	b := make([]byte, n)
	return b, s.read(b)
}

// dataKey keeps place and size of a packed block in one number: blocks are at
// most 1 MiB, and images are bounded at 2^40 for this.
func dataKey(place int64, size uint32) (int64, error) {
	if place < 0 || place >= 1<<38 || size&^dataPlain > maxBlock {
		return 0, filesystem.Broken("squashfs: a block of %d bytes at %d", size&^dataPlain, place)
	}
	return place<<25 | int64(size&(1<<25-1)), nil
}

func (v *volume) readData(key int64) ([]byte, error) {
	place, size := key>>25, uint32(key&(1<<25-1))
	b, err := block.Read(v.r, place, int(size&^dataPlain))
	if err != nil || size&dataPlain != 0 {
		return b, err
	}
	return unpack(v.packing, b, int(v.blockSize))
}

// fragment gives the block that holds the tails of several files.
func (v *volume) fragment(index uint32) ([]byte, error) {
	if index >= v.fragments {
		return nil, filesystem.Broken("squashfs: fragment %d of %d", index, v.fragments)
	}
	const perBlock, entry = metaBytes / 16, 16
	b, err := block.Read(v.r, v.fragTab+int64(index/perBlock)*8, 8)
	if err != nil {
		return nil, err
	}
	s := stream{v: v, place: int64(binary.LittleEndian.Uint64(b)), off: int(index%perBlock) * entry}
	e, err := s.take(entry)
	if err != nil {
		return nil, err
	}
	key, err := dataKey(int64(binary.LittleEndian.Uint64(e)), binary.LittleEndian.Uint32(e[8:]))
	if err != nil {
		return nil, err
	}
	return v.data.Get(key)
}
