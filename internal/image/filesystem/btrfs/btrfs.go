// Package btrfs reads Btrfs filesystems on one device, with subvolumes and
// compression by zlib, LZO and zstd.
//
// It reads from the io.ReaderAt it is given and touches nothing else. The layout
// is that of btrfs_tree.h of Linux. A log tree is not replayed, but reported.
package btrfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	superAt    = 64 << 10
	superBytes = 4096
	magic      = "_BHRfS_M"

	treeFS    = 5
	firstFile = 256 // the root of each tree

	typeInode   = 1
	typeDirItem = 84
	typeDir     = 96
	typeExtent  = 108
	typeRoot    = 132
	typeChunk   = 228

	incompatKnown = 0xfff // up to metadata_uuid
)

type volume struct {
	r          io.ReaderAt
	info       filesystem.Info
	nodeSize   int64
	sectorSize int64
	device     uint64
	chunks     []chunk
	root       tree // the tree of trees
	rootDir    uint64
	roots      map[uint64]tree
}

// chunk maps logical addresses to the device.
type chunk struct {
	logical, length int64
	place           int64
}

type tree struct {
	place int64 // logical
	level int
}

// Is reports whether a Btrfs begins at the start of r.
func Is(r io.ReaderAt) bool {
	b, err := block.Read(r, superAt+64, len(magic))
	return err == nil && string(b) == magic
}

// Open opens a filesystem.
func Open(r io.ReaderAt) (filesystem.Volume, error) {
	b, err := block.Read(r, superAt, superBytes)
	if err != nil {
		return nil, err
	}
	v := &volume{r: r, roots: map[uint64]tree{}}
	if err := v.parse(b); err != nil {
		return nil, err
	}
	if err := v.systemChunks(b); err != nil {
		return nil, err
	}
	if err := v.loadChunks(tree{int64(binary.LittleEndian.Uint64(b[88:])), int(b[199])}); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *volume) parse(b []byte) error {
	le := binary.LittleEndian
	v.root = tree{int64(le.Uint64(b[80:])), int(b[198])}
	v.nodeSize, v.sectorSize = int64(le.Uint32(b[148:])), int64(le.Uint32(b[144:]))
	v.rootDir, v.device = le.Uint64(b[128:]), le.Uint64(b[201:])
	total, used := int64(le.Uint64(b[112:])), int64(le.Uint64(b[120:]))
	if string(b[64:72]) != magic || v.nodeSize < 4096 || v.nodeSize > 64<<10 || v.nodeSize&(v.nodeSize-1) != 0 || v.sectorSize < 4096 || v.sectorSize > 64<<10 || total < 0 || used < 0 {
		return filesystem.Broken("btrfs: the superblock makes no sense")
	}
	if f := le.Uint64(b[188:]); f&^incompatKnown != 0 {
		return droveway.Missing("btrfs-feature", "btrfs: unknown features %#x", f&^incompatKnown)
	}
	id := b[32:48]
	v.info = filesystem.Info{
		Kind: "btrfs", Label: block.Text(b[299:555]), UUID: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		Size: total, Free: max(0, total-used),
	}
	if le.Uint64(b[96:]) != 0 {
		v.info.Dirty = "the log was not replayed: it was not unmounted"
	}
	return nil
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) { return v.Subvolume("") }

// Subvolume opens a tree by its path from the top, as "#256" by its number, or
// the default one.
func (v *volume) Subvolume(name string) (filesystem.Node, error) {
	if name == "" {
		id, err := v.defaultTree()
		if err != nil {
			return nil, err
		}
		return v.top(id)
	}
	var id uint64
	if n, err := fmt.Sscanf(name, "#%d", &id); n == 1 && err == nil {
		return v.top(id)
	}
	top, err := v.top(treeFS)
	if err != nil {
		return nil, err
	}
	t := filesystem.NewTree(top, false)
	n, err := t.Lstat(strings.Trim(name, "/"))
	if err == nil && !n.Stat().IsDir() {
		err = droveway.Errorf(droveway.Invalid, "%s is not a subvolume", name)
	}
	return n, err
}

// top is the root of a tree.
func (v *volume) top(id uint64) (filesystem.Node, error) {
	t, err := v.treeOf(id)
	if err != nil {
		return nil, err
	}
	return v.node(t, firstFile)
}

// treeOf finds where a tree is.
func (v *volume) treeOf(id uint64) (tree, error) {
	if t, ok := v.roots[id]; ok {
		return t, nil
	}
	var found *tree
	err := v.walk(v.root, key{id, typeRoot, 0}, func(k key, data []byte) (bool, error) {
		if k.id == id && k.kind == typeRoot && len(data) >= 239 {
			found = &tree{int64(binary.LittleEndian.Uint64(data[176:])), int(data[238])}
		}
		return false, nil
	})
	if err != nil {
		return tree{}, err
	}
	if found == nil {
		return tree{}, droveway.Errorf(droveway.NotFound, "btrfs: no tree %d", id)
	}
	v.roots[id] = *found
	return *found, nil
}

// defaultTree is what a mount without subvol= shows.
func (v *volume) defaultTree() (uint64, error) {
	id := uint64(treeFS)
	err := v.walk(v.root, key{v.rootDir, typeDirItem, 0}, func(k key, data []byte) (bool, error) {
		if k.id != v.rootDir || k.kind != typeDirItem {
			return false, nil
		}
		return true, eachName(data, func(name string, location key) error {
			if name == "default" && location.kind == typeRoot {
				id = location.id
			}
			return nil
		})
	})
	return id, err
}
