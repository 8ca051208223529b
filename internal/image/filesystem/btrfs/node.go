package btrfs

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	inodeBytes  = 160
	extentHead  = 21
	extentFull  = 53
	inlineData  = 0
	regularData = 1
	prealloc    = 2
	// Linux packs at most 128 KiB at once.
	maxPacked = 128 << 10
	maxInline = 64 << 10
)

type node struct {
	v    *volume
	tree tree
	id   uint64
	stat filesystem.Stat

	last     []byte // the extent that was unpacked last
	lastFrom int64  // its logical address
}

func (v *volume) node(t tree, id uint64) (filesystem.Node, error) {
	var n *node
	err := v.walk(t, key{id, typeInode, 0}, func(k key, data []byte) (bool, error) {
		if k.id != id || k.kind != typeInode || len(data) < inodeBytes {
			return false, filesystem.Broken("btrfs: no inode %d", id)
		}
		le := binary.LittleEndian
		size := le.Uint64(data[16:])
		if size > 1<<60 {
			return false, filesystem.Broken("btrfs: inode %d has %d bytes", id, size)
		}
		n = &node{v: v, tree: t, id: id, lastFrom: -1, stat: filesystem.Stat{Mode: filesystem.UnixMode(le.Uint32(data[52:])), Size: int64(size), ID: id}}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, filesystem.Broken("btrfs: no inode %d", id)
	}
	return n, nil
}

func (n *node) Stat() filesystem.Stat { return n.stat }

// List reads a directory. An entry may lead into another tree, a subvolume.
func (n *node) List(fn func(filesystem.Entry) error) error {
	return n.v.walk(n.tree, key{n.id, typeDir, 0}, func(k key, data []byte) (bool, error) {
		if k.id != n.id || k.kind != typeDir {
			return false, nil
		}
		return true, eachName(data, func(name string, location key) error {
			return fn(filesystem.Entry{Name: name, Open: n.open(location)})
		})
	})
}

func (n *node) open(location key) func() (filesystem.Node, error) {
	return func() (filesystem.Node, error) {
		if location.kind == typeRoot {
			return n.v.top(location.id)
		}
		return n.v.node(n.tree, location.id)
	}
}

func (n *node) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, n.stat.Size)
	if done {
		return 0, io.EOF
	}
	clear(q) // what no extent covers is a hole
	end := off + int64(len(q))
	from, err := n.firstExtent(off)
	if err != nil {
		return 0, err
	}
	err = n.v.walk(n.tree, key{n.id, typeExtent, from}, func(k key, data []byte) (bool, error) {
		if k.id != n.id || k.kind != typeExtent || k.offset >= uint64(end) {
			return false, nil
		}
		return true, n.copyExtent(q, off, int64(k.offset), data)
	})
	if err != nil {
		return 0, err
	}
	if len(q) < len(p) {
		return len(q), io.EOF
	}
	return len(q), nil
}

// firstExtent is the offset of the last extent that begins at or before off. No
// extent is longer than a chunk, so the search begins a little before.
func (n *node) firstExtent(off int64) (uint64, error) {
	var at uint64
	for _, back := range []int64{maxPacked, 128 << 20, 1 << 40} {
		start := max(0, off-back)
		found := false
		err := n.v.walk(n.tree, key{n.id, typeExtent, uint64(start)}, func(k key, _ []byte) (bool, error) {
			if k.id != n.id || k.kind != typeExtent || k.offset > uint64(off) {
				return false, nil
			}
			at, found = k.offset, true
			return true, nil
		})
		if err != nil || found || start == 0 {
			return at, err
		}
	}
	return at, nil
}

// copyExtent copies into q, which begins at off, what an extent at start has.
func (n *node) copyExtent(q []byte, off, start int64, data []byte) error {
	if len(data) < extentHead {
		return filesystem.Broken("btrfs: an extent of inode %d makes no sense", n.id)
	}
	le := binary.LittleEndian
	if data[17] != 0 || le.Uint16(data[18:]) != 0 {
		return droveway.Missing("btrfs-encryption", "btrfs: inode %d is encrypted", n.id)
	}
	if data[20] == inlineData {
		return n.copyInline(q, off, start, data)
	}
	if data[20] == prealloc {
		return nil
	}
	if len(data) < extentFull || data[20] != regularData {
		return filesystem.Broken("btrfs: an extent of inode %d makes no sense", n.id)
	}
	e := extent{
		packing: data[16], ram: int64(le.Uint64(data[8:])), place: int64(le.Uint64(data[21:])), packed: int64(le.Uint64(data[29:])),
		skip: int64(le.Uint64(data[37:])), length: int64(le.Uint64(data[45:])),
	}
	if e.place == 0 {
		return nil
	}
	if e.place < 0 || e.skip < 0 || e.length < 0 || e.skip > 1<<56 || e.length > 1<<56 || e.place > 1<<60 {
		return filesystem.Broken("btrfs: an extent of inode %d makes no sense", n.id)
	}
	lo, hi := max(off, start), min(off+int64(len(q)), start+e.length)
	if lo >= hi {
		return nil
	}
	return n.copyData(q[lo-off:hi-off], e, e.skip+lo-start)
}

// extent is a run of data on the device.
type extent struct {
	packing            byte
	ram, place, packed int64 // bytes unpacked, logical address, bytes there
	skip, length       int64 // which part of it the file shows
}

func (n *node) copyData(p []byte, e extent, from int64) error {
	if e.packing == 0 {
		at, err := n.v.place(e.place+from, int64(len(p)))
		if err != nil {
			return err
		}
		return block.Full(n.v.r, p, at)
	}
	if n.lastFrom != e.place {
		b, err := n.unpackAt(e)
		if err != nil {
			return err
		}
		n.last, n.lastFrom = b, e.place
	}
	if from > int64(len(n.last)) {
		return filesystem.Broken("btrfs: an extent of inode %d is too short", n.id)
	}
	copy(p, n.last[from:])
	return nil
}

func (n *node) unpackAt(e extent) ([]byte, error) {
	if e.packed <= 0 || e.packed > 2*maxPacked || e.ram <= 0 || e.ram > 2*maxPacked {
		return nil, filesystem.Broken("btrfs: a packed extent of inode %d has %d bytes for %d", n.id, e.packed, e.ram)
	}
	at, err := n.v.place(e.place, e.packed)
	if err != nil {
		return nil, err
	}
	b, err := block.Read(n.v.r, at, int(e.packed))
	if err != nil {
		return nil, err
	}
	return unpack(e.packing, b, int(e.ram), int(n.v.sectorSize))
}

func (n *node) copyInline(q []byte, off, start int64, data []byte) error {
	b, ram := data[extentHead:], binary.LittleEndian.Uint64(data[8:])
	if ram > maxInline {
		return filesystem.Broken("btrfs: inode %d has %d bytes in a leaf", n.id, ram)
	}
	if data[16] != 0 {
		var err error
		if b, err = unpack(data[16], b, int(ram), int(n.v.sectorSize)); err != nil {
			return err
		}
	}
	if skip := off - start; skip >= 0 && skip < int64(len(b)) {
		copy(q, b[skip:])
	} else if skip < 0 && -skip < int64(len(q)) {
		copy(q[-skip:], b)
	}
	return nil
}
