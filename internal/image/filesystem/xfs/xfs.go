// Package xfs reads XFS filesystems of version 4 and 5.
//
// It reads from the io.ReaderAt it is given and touches nothing else. The layout
// is that of "XFS Algorithms & Data Structures". A log that was not
// replayed is reported, and ignored.
package xfs

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	magic       = "XFSB"
	superBytes  = 512
	version5    = 5
	maxBlockLog = 16

	features2Ftype = 0x200
	incompatFtype  = 0x1
	incompatKnown  = 0x7f // up to parent pointers
	repairNeeded   = 0x10
)

type volume struct {
	r                                    io.ReaderAt
	info                                 filesystem.Info
	blockSize, blocks                    int64
	agBlocks, agCount                    int64
	inodeSize                            int64
	agBlockLog, inodesPerBlockLog, dirLg uint
	root                                 uint64
	v5, ftype                            bool
}

// Is reports whether an XFS begins at the start of r.
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
	v := &volume{r: r}
	if err := v.parse(b); err != nil {
		return nil, err
	}
	if v.info.Dirty == "" {
		v.info.Dirty = v.unclean(b)
	}
	return v, nil
}

func (v *volume) parse(b []byte) error {
	be := binary.BigEndian
	blockLog := uint(b[120])
	v.blockSize, v.blocks = int64(be.Uint32(b[4:])), int64(be.Uint64(b[8:]))
	v.root = be.Uint64(b[56:])
	v.agBlocks, v.agCount = int64(be.Uint32(b[84:])), int64(be.Uint32(b[88:]))
	v.inodeSize = int64(be.Uint16(b[104:]))
	v.inodesPerBlockLog, v.agBlockLog, v.dirLg = uint(b[123]), uint(b[124]), uint(b[192])
	v.v5 = be.Uint16(b[100:])&0xf == version5
	v.ftype = be.Uint32(b[200:])&features2Ftype != 0
	if string(b[:4]) != magic || blockLog < 9 || blockLog > maxBlockLog || v.blockSize != 1<<blockLog || v.inodeSize < 256 || v.inodeSize > v.blockSize ||
		v.inodesPerBlockLog > 8 || v.inodeSize<<v.inodesPerBlockLog != v.blockSize || v.agBlockLog > 31 || v.agBlocks == 0 || v.agBlocks > 1<<v.agBlockLog || blockLog+v.dirLg > maxBlockLog ||
		v.blocks <= 0 || v.blocks > 1<<46 {
		return filesystem.Broken("xfs: the superblock makes no sense")
	}
	id, dirty := b[32:48], ""
	if v.v5 {
		features := be.Uint32(b[216:])
		if features&^incompatKnown != 0 {
			return droveway.Missing("xfs-feature", "xfs: unknown features %#x", features&^incompatKnown)
		}
		v.ftype = features&incompatFtype != 0
		if features&repairNeeded != 0 {
			dirty = "the filesystem needs xfs_repair"
		}
	}
	v.info = filesystem.Info{
		Kind: "xfs", Label: block.Text(b[108:120]), UUID: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		Size: v.blocks * v.blockSize, Free: int64(min(be.Uint64(b[144:]), uint64(v.blocks))) * v.blockSize, Dirty: dirty,
	}
	return nil
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) { return v.open(v.root)() }

// at gives where a block lies whose number has its group in the upper bits.
func (v *volume) at(fsblock uint64) (int64, error) {
	group, within := int64(fsblock>>v.agBlockLog), int64(fsblock&(1<<v.agBlockLog-1))
	if group >= v.agCount || within >= v.agBlocks {
		return 0, filesystem.Broken("xfs: block %d is outside", fsblock)
	}
	return (group*v.agBlocks + within) * v.blockSize, nil
}

func (v *volume) open(number uint64) func() (filesystem.Node, error) {
	return func() (filesystem.Node, error) {
		at, err := v.at(number >> v.inodesPerBlockLog)
		if err != nil {
			return nil, err
		}
		at += int64(number&(1<<v.inodesPerBlockLog-1)) * v.inodeSize
		b, err := block.Read(v.r, at, int(v.inodeSize))
		if err != nil {
			return nil, err
		}
		return newNode(v, number, b)
	}
}
