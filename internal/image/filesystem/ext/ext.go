// Package ext reads ext2, ext3 and ext4 filesystems.
//
// It reads from the io.ReaderAt it is given and touches nothing else. A journal
// that was not replayed is reported, and ignored. The layout is that of
// Documentation/filesystems/ext4 of Linux.
package ext

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	superAt    = 1024
	superBytes = 1024
	magic      = 0xef53
	rootInode  = 2
	goodInode  = 128 // bytes, in revision 0

	compatJournal = 0x4

	incompatCompression = 0x1
	incompatFiletype    = 0x2
	incompatRecover     = 0x4
	incompatJournalDev  = 0x8
	incompatMetaBG      = 0x10
	incompatExtents     = 0x40
	incompat64          = 0x80
	incompatFlexBG      = 0x200

	roSparseSuper = 0x1
	stateClean    = 0x1
	stateErrors   = 0x2
)

// volume is an open filesystem.
type volume struct {
	r                                  io.ReaderAt
	info                               filesystem.Info
	blockSize                          int64
	blocks, firstData                  int64
	perGroup, inodesPerGroup           int64
	inodes, inodeSize, descSize        int64
	compat, incompat, ro, firstMetaGrp uint32
}

// Is reports whether a filesystem of this family begins at the start of r.
func Is(r io.ReaderAt) bool {
	b, err := block.Read(r, superAt+56, 2)
	return err == nil && binary.LittleEndian.Uint16(b) == magic
}

// Open opens a filesystem.
func Open(r io.ReaderAt) (filesystem.Volume, error) {
	b, err := block.Read(r, superAt, superBytes)
	if err != nil {
		return nil, err
	}
	v := &volume{r: r}
	if err := v.parse(b); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *volume) parse(b []byte) error {
	le := binary.LittleEndian
	logBlock := le.Uint32(b[24:])
	if le.Uint16(b[56:]) != magic || logBlock > 6 {
		return filesystem.Broken("ext: the superblock makes no sense")
	}
	v.blockSize = 1024 << logBlock
	v.compat, v.incompat, v.ro = le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
	v.inodes, v.blocks, v.firstData = int64(le.Uint32(b)), int64(le.Uint32(b[4:])), int64(le.Uint32(b[20:]))
	free := int64(le.Uint32(b[12:]))
	v.perGroup, v.inodesPerGroup = int64(le.Uint32(b[32:])), int64(le.Uint32(b[40:]))
	v.inodeSize, v.descSize, v.firstMetaGrp = goodInode, 32, le.Uint32(b[0x104:])
	if le.Uint32(b[76:]) > 0 {
		v.inodeSize = int64(le.Uint16(b[88:]))
	}
	if v.incompat&incompat64 != 0 {
		v.blocks |= int64(le.Uint32(b[0x150:])) << 32
		free |= int64(le.Uint32(b[0x158:])) << 32
		v.descSize = int64(le.Uint16(b[254:]))
	}
	switch {
	case v.perGroup == 0 || v.inodesPerGroup == 0 || v.inodeSize < goodInode || v.inodeSize > v.blockSize || v.descSize < 32 || v.descSize > v.blockSize:
		return filesystem.Broken("ext: the superblock makes no sense")
	case v.blocks > 1<<48 || v.blocks <= v.firstData:
		return filesystem.Broken("ext: %d blocks", v.blocks)
	case v.incompat&(incompatCompression|incompatJournalDev) != 0:
		return droveway.Missing("ext-feature", "ext: an external journal or compression cannot be read")
	}
	v.info = filesystem.Info{
		Kind: v.kind(), Label: block.Text(b[120:136]), UUID: uuid(b[104:]), Size: v.blocks * v.blockSize, Free: free * v.blockSize,
		Dirty: v.dirty(le.Uint16(b[58:])),
	}
	return nil
}

func (v *volume) kind() string {
	switch {
	case v.incompat&(incompatExtents|incompat64|incompatFlexBG) != 0:
		return "ext4"
	case v.compat&compatJournal != 0:
		return "ext3"
	}
	return "ext2"
}

func (v *volume) dirty(state uint16) string {
	switch {
	case state&stateErrors != 0:
		return "the filesystem has recorded errors"
	case v.incompat&incompatRecover != 0:
		return "the journal was not replayed: it was not unmounted"
	case state&stateClean == 0:
		return "it was not unmounted"
	}
	return ""
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) { return v.inode(rootInode) }

// inode reads an inode.
func (v *volume) inode(number int64) (*node, error) {
	if number < 1 || number > v.inodes {
		return nil, filesystem.Broken("ext: inode %d of %d", number, v.inodes)
	}
	group, index := (number-1)/v.inodesPerGroup, (number-1)%v.inodesPerGroup
	table, err := v.inodeTable(group)
	if err != nil {
		return nil, err
	}
	b, err := block.Read(v.r, table*v.blockSize+index*v.inodeSize, int(v.inodeSize))
	if err != nil {
		return nil, err
	}
	return newNode(v, number, b)
}

func (v *volume) inodeTable(group int64) (int64, error) {
	b, err := block.Read(v.r, v.descriptorAt(group), int(v.descSize))
	if err != nil {
		return 0, err
	}
	table := int64(binary.LittleEndian.Uint32(b[8:]))
	if v.incompat&incompat64 != 0 && v.descSize >= 64 {
		table |= int64(binary.LittleEndian.Uint32(b[40:])) << 32
	}
	if table <= 0 || table >= v.blocks {
		return 0, filesystem.Broken("ext: the inodes of group %d are at block %d", group, table)
	}
	return table, nil
}

// descriptorAt is where a group's descriptor lies: all of them after the
// superblock, or with meta_bg in the first group of those that it describes.
func (v *volume) descriptorAt(group int64) int64 {
	perBlock := v.blockSize / v.descSize
	meta := group / perBlock
	if v.incompat&incompatMetaBG == 0 || meta < int64(v.firstMetaGrp) {
		return (superAt/v.blockSize+1)*v.blockSize + group*v.descSize
	}
	first := meta * perBlock
	at := v.firstData + first*v.perGroup
	if v.hasSuper(first) {
		at++
	}
	if first == 0 {
		at = superAt/v.blockSize + 1 // bigalloc counts small blocks from 0, too
	}
	return at*v.blockSize + group%perBlock*v.descSize
}

func (v *volume) hasSuper(group int64) bool {
	if v.ro&roSparseSuper == 0 || group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		p := base
		for p < group {
			p *= base
		}
		if p == group {
			return true
		}
	}
	return false
}
