package ext

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	flagEncrypted = 0x800
	flagExtents   = 0x80000
	flagInline    = 0x10000000
	mapBytes      = 60 // of the map in an inode, or of its inline data
	extentMagic   = 0xf30a
	extentBytes   = 12
	maxExtents    = 5 // levels
	maxUnwritten  = 32768
	direct        = 12 // blocks before the first indirect one
	indirections  = 3
)

// node is an inode.
type node struct {
	v      *volume
	number int64
	stat   filesystem.Stat
	flags  uint32
	data   [mapBytes]byte
	kept   []byte // what is in the inode itself
	last   run    // of the previous look-up: files are read in a row
}

// run is a piece of a file that lies in a row: count blocks from place, or a
// hole if place is 0.
type run struct{ first, count, place int64 }

func (r run) holds(b int64) bool { return b >= r.first && b < r.first+r.count }

func newNode(v *volume, number int64, b []byte) (*node, error) {
	le := binary.LittleEndian
	n := &node{v: v, number: number, flags: le.Uint32(b[32:])}
	mode := filesystem.UnixMode(uint32(le.Uint16(b)))
	size := uint64(le.Uint32(b[4:]))
	if mode.IsRegular() || mode.IsDir() {
		size |= uint64(le.Uint32(b[108:])) << 32
	}
	if size > 1<<60 {
		return nil, filesystem.Broken("ext: inode %d has %d bytes", number, size)
	}
	n.stat = filesystem.Stat{Mode: mode, Size: int64(size), ID: uint64(number)}
	copy(n.data[:], b[40:])
	if n.inline() {
		return n, n.readInlineData(b)
	}
	return n, nil
}

func (n *node) Stat() filesystem.Stat { return n.stat }

func (n *node) inline() bool {
	return n.flags&flagInline != 0 || n.stat.IsLink() && n.flags&flagExtents == 0 && n.stat.Size < mapBytes
}

// ReadAt reads a file, the blocks of a directory, or the target of a link.
func (n *node) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, n.stat.Size)
	if done {
		return 0, io.EOF
	}
	if n.flags&flagEncrypted != 0 {
		return 0, droveway.Missing("ext-encryption", "ext: inode %d is encrypted", n.number)
	}
	if n.inline() {
		return n.readInline(p, off)
	}
	k := 0
	for k < len(q) {
		piece, err := n.readRun(q[k:], off+int64(k))
		if err != nil {
			return k, err
		}
		k += piece
	}
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

func (n *node) readRun(p []byte, off int64) (int, error) {
	size := n.v.blockSize
	b := off / size
	if !n.last.holds(b) {
		r, err := n.find(b)
		if err != nil {
			return 0, err
		}
		if !r.holds(b) {
			return 0, filesystem.Broken("ext: the map of inode %d is out of order", n.number)
		}
		n.last = r
	}
	r := n.last
	p = p[:min(int64(len(p)), (r.first+r.count)*size-off)]
	if r.place == 0 {
		clear(p)
		return len(p), nil
	}
	return len(p), block.Full(n.v.r, p, (r.place-r.first)*size+off)
}

func (n *node) find(b int64) (run, error) {
	if n.flags&flagExtents != 0 {
		return n.findExtent(b)
	}
	return n.findIndirect(b)
}

// findExtent goes down the extent tree to the run that holds b.
func (n *node) findExtent(b int64) (run, error) {
	le := binary.LittleEndian
	at := n.data[:]
	limit := int64(1) << 32
	for range maxExtents + 1 {
		count, depth := int(le.Uint16(at[2:])), le.Uint16(at[6:])
		if le.Uint16(at) != extentMagic || (count+1)*extentBytes > len(at) {
			return run{}, filesystem.Broken("ext: the extents of inode %d make no sense", n.number)
		}
		entry, next := search(at, count, b)
		limit = min(limit, next)
		if entry == nil {
			return run{first: b, count: limit - b}, nil
		}
		if depth == 0 {
			return leafRun(entry, b, limit), nil
		}
		place := int64(le.Uint32(entry[4:])) | int64(le.Uint16(entry[8:]))<<32
		var err error
		if at, err = block.Read(n.v.r, place*n.v.blockSize, int(n.v.blockSize)); err != nil {
			return run{}, err
		}
	}
	return run{}, filesystem.Broken("ext: the extents of inode %d are too deep", n.number)
}

// search gives the last entry that begins at or before b, and where the next
// one begins.
func search(at []byte, count int, b int64) (entry []byte, next int64) {
	next = 1 << 32
	for i := range count {
		e := at[(i+1)*extentBytes:]
		first := int64(binary.LittleEndian.Uint32(e))
		if first > b {
			return entry, first
		}
		entry = e
	}
	return entry, next
}

func leafRun(e []byte, b, next int64) run {
	le := binary.LittleEndian
	first, count := int64(le.Uint32(e)), int64(le.Uint16(e[4:]))
	place := int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32
	if count > maxUnwritten {
		count -= maxUnwritten
		place = 0 // allocated, but never written
	}
	if b >= first+count {
		return run{first: b, count: next - b}
	}
	return run{first, count, place}
}

// findIndirect follows the blocks of pointers of ext2.
func (n *node) findIndirect(b int64) (run, error) {
	le := binary.LittleEndian
	if b < direct {
		return run{b, 1, int64(le.Uint32(n.data[b*4:]))}, nil
	}
	per := n.v.blockSize / 4
	left, reach := b-direct, per
	for level := range indirections {
		if left < reach {
			return n.descend(b, left, reach/per, int64(le.Uint32(n.data[(direct+level)*4:])))
		}
		left -= reach
		reach *= per
	}
	return run{}, filesystem.Broken("ext: inode %d has too many blocks", n.number)
}

func (n *node) descend(b, left, reach, place int64) (run, error) {
	for place != 0 {
		e, err := block.Read(n.v.r, place*n.v.blockSize+left/reach*4, 4)
		if err != nil {
			return run{}, err
		}
		place = int64(binary.LittleEndian.Uint32(e))
		if reach == 1 {
			break
		}
		left %= reach
		reach /= n.v.blockSize / 4
	}
	if place == 0 {
		// reach blocks are not there; those after b are.
		return run{first: b, count: max(1, reach-left%max(reach, 1))}, nil
	}
	return run{b, 1, place}, nil
}

// List reads a directory block by block. The index of a large one looks like
// empty entries, and is passed over.
func (n *node) List(fn func(filesystem.Entry) error) error {
	if !n.stat.IsDir() {
		return filesystem.Broken("ext: inode %d is not a folder", n.number)
	}
	if n.inline() {
		return n.listInline(fn)
	}
	b := make([]byte, n.v.blockSize)
	for off := int64(0); off < n.stat.Size; off += n.v.blockSize {
		if _, err := n.ReadAt(b, off); err != nil && err != io.EOF {
			return err
		}
		if n.last.place == 0 {
			off = max(off, (n.last.first+n.last.count-1)*n.v.blockSize)
			continue
		}
		if err := n.entries(b, fn); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) entries(b []byte, fn func(filesystem.Entry) error) error {
	le := binary.LittleEndian
	for len(b) >= 8 {
		number, length, name := int64(le.Uint32(b)), int(le.Uint16(b[4:])), int(b[6])
		if n.v.incompat&incompatFiletype == 0 {
			name = int(le.Uint16(b[6:]))
		}
		if length < 8 || length > len(b) || 8+name > length {
			return filesystem.Broken("ext: an entry of folder %d makes no sense", n.number)
		}
		if s := string(b[8 : 8+name]); number != 0 && s != "." && s != ".." {
			if err := fn(filesystem.Entry{Name: s, Open: n.v.opener(number)}); err != nil {
				return err
			}
		}
		b = b[length:]
	}
	return nil
}

func (v *volume) opener(number int64) func() (filesystem.Node, error) {
	return func() (filesystem.Node, error) {
		n, err := v.inode(number)
		if err != nil {
			return nil, err
		}
		return n, nil
	}
}
