package format

import (
	"encoding/binary"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// The numbers of VHD, from Microsoft's "Virtual Hard Disk Image Format
// Specification" of 2006.
const (
	vhdFixed        = 2
	vhdDynamic      = 3
	vhdDifferencing = 4
	vhdUnused       = 0xffffffff
	vhdMaxBlock     = 256 << 20
)

// vhdFooter finds the footer in the last sector, which early versions made one
// byte shorter.
func vhdFooter(f *block.Cached) ([]byte, bool) {
	for _, n := range []int{sector, sector - 1} {
		b, err := block.Read(f, f.Size()-int64(n), n)
		if err == nil && string(b[:8]) == "conectix" {
			return b, true
		}
	}
	return nil, false
}

func openVHD(f *block.Cached, foot []byte) (*Image, error) {
	be := binary.BigEndian
	size := be.Uint64(foot[48:])
	if creator := string(foot[28:32]); creator == "vpc " || creator == "vs  " {
		// Virtual PC shows its guests the geometry, which is a little less.
		size = uint64(be.Uint16(foot[56:])) * uint64(foot[58]) * uint64(foot[59]) * sector
	}
	if size > MaxSize {
		return nil, droveway.Errorf(droveway.Invalid, "vhd: a virtual size of %d bytes: a disk has 1 to %d", size, int64(MaxSize))
	}
	switch kind := be.Uint32(foot[60:]); kind {
	case vhdFixed:
		if int64(size) > f.Size() {
			return nil, droveway.Errorf(droveway.Invalid, "vhd: %d bytes of data, the file has %d: it is truncated", size, f.Size())
		}
		return &Image{Kind: VHD, Variant: "fixed", Size: int64(size), disk: f}, nil
	case vhdDynamic:
		return openDynamicVHD(f, int64(size), be.Uint64(foot[16:]))
	case vhdDifferencing:
		return nil, droveway.Errorf(droveway.Invalid, "vhd: it is a differencing disk and needs its parent: merge the snapshots and export again")
	default:
		return nil, droveway.Errorf(droveway.Invalid, "vhd: disk type %d: the image is damaged", kind)
	}
}

// dynamicVHD holds blocks where a table says; a bitmap of sectors stands before
// each block, and what it leaves out is zero in the block, too.
type dynamicVHD struct {
	f             *block.Cached
	table, blocks int64
	block, bitmap int64 // bytes
}

func openDynamicVHD(f *block.Cached, size int64, header uint64) (*Image, error) {
	if header > MaxSize {
		return nil, droveway.Errorf(droveway.Invalid, "vhd: header at %d: the image is damaged", header)
	}
	b, err := block.Read(f, int64(header), sector)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	v := &dynamicVHD{f: f, table: int64(be.Uint64(b[16:])), blocks: int64(be.Uint32(b[28:])), block: int64(be.Uint32(b[32:]))}
	if string(b[:8]) != "cxsparse" || v.block < sector || v.block > vhdMaxBlock || v.block&(v.block-1) != 0 || v.table < 0 || v.table > MaxSize || v.blocks*v.block < size {
		return nil, droveway.Errorf(droveway.Invalid, "vhd: its dynamic header makes no sense: the image is damaged")
	}
	v.bitmap = (v.block/sector/8 + sector - 1) / sector * sector
	return &Image{Kind: VHD, Variant: "dynamic", Size: size, disk: v}, nil
}

func (v *dynamicVHD) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		piece := p[n:min(int64(len(p)), int64(n)+v.block-at%v.block)]
		b, err := block.Read(v.f, v.table+at/v.block*4, 4)
		if err != nil {
			return n, err
		}
		if entry := binary.BigEndian.Uint32(b); entry == vhdUnused {
			clear(piece)
		} else if err := readTail(v.f, piece, int64(entry)*sector+v.bitmap+at%v.block); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}
