package xfs

import (
	"encoding/binary"
	"io"
	"slices"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	inodeMagic   = 0x494e
	coreV2       = 100
	coreV3       = 176
	formatLocal  = 1
	formatExtent = 2
	formatBtree  = 3
	wideExtents  = 1 << 4 // in flags2: the count of extents has 64 bits
	extentBytes  = 16
	maxExtents   = 1 << 18 // of a file
	maxFirst     = 1 << 44 // block of a file: keeps places below 2^60
	maxLevels    = 9
	longHeader   = 24 // of a block of the extent tree
	longHeaderV5 = 72
	linkHeader   = 56 // of an extent of a long link
)

// extent is a run of blocks of a file, all numbers in blocks.
type extent struct {
	first, count int64
	place        uint64
	unwritten    bool
}

type node struct {
	v      *volume
	number uint64
	stat   filesystem.Stat
	format byte
	fork   []byte
	count  uint64 // extents in the fork
	loaded bool
	runs   []extent
}

func newNode(v *volume, number uint64, b []byte) (filesystem.Node, error) {
	be := binary.BigEndian
	n := &node{v: v, number: number, format: b[5], count: uint64(be.Uint32(b[76:]))}
	core := coreV2
	if b[4] >= 3 {
		core = coreV3
		if be.Uint64(b[120:])&wideExtents != 0 {
			n.count = be.Uint64(b[24:])
		}
	}
	size := be.Uint64(b[56:])
	if be.Uint16(b) != inodeMagic || size > 1<<60 {
		return nil, filesystem.Broken("xfs: inode %d makes no sense", number)
	}
	end := len(b)
	if off := int(b[82]) * 8; off > 0 {
		end = core + off
	}
	if end > len(b) || end < core {
		return nil, filesystem.Broken("xfs: inode %d makes no sense", number)
	}
	n.fork = b[core:end]
	n.stat = filesystem.Stat{Mode: filesystem.UnixMode(uint32(be.Uint16(b[2:]))), Size: int64(size), ID: number}
	return n, nil
}

func (n *node) Stat() filesystem.Stat { return n.stat }

func (n *node) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, n.stat.Size)
	if done {
		return 0, io.EOF
	}
	var err error
	switch {
	case n.format == formatLocal:
		if n.stat.Size > int64(len(n.fork)) {
			return 0, filesystem.Broken("xfs: inode %d is too long", n.number)
		}
		copy(q, n.fork[off:])
	case n.stat.IsLink() && n.v.v5:
		err = n.readLink(q, off)
	default:
		err = n.readData(q, off)
	}
	if err != nil {
		return 0, err
	}
	if len(q) < len(p) {
		return len(q), io.EOF
	}
	return len(q), nil
}

// readLink reads a link that does not fit its inode: each of its extents, and not each
// block, begins with a header.
func (n *node) readLink(q []byte, off int64) error {
	if err := n.load(); err != nil {
		return err
	}
	for _, e := range n.runs {
		room := e.count*n.v.blockSize - linkHeader
		if off >= room {
			off -= room
			continue
		}
		piece := q[:min(int64(len(q)), room-off)]
		if err := n.readData(piece, e.first*n.v.blockSize+linkHeader+off); err != nil {
			return err
		}
		if q, off = q[len(piece):], 0; len(q) == 0 {
			return nil
		}
	}
	return filesystem.Broken("xfs: the link of inode %d ends too soon", n.number)
}

// readData reads by the extents; holes are zeros.
func (n *node) readData(q []byte, off int64) error {
	if err := n.load(); err != nil {
		return err
	}
	size := n.v.blockSize
	for len(q) > 0 {
		b := off / size
		i, found := slices.BinarySearchFunc(n.runs, b, func(e extent, b int64) int {
			switch {
			case e.first+e.count <= b:
				return -1
			case e.first > b:
				return 1
			}
			return 0
		})
		if !found {
			end := off + int64(len(q))
			if i < len(n.runs) {
				end = min(end, n.runs[i].first*size)
			}
			clear(q[:end-off])
			q, off = q[end-off:], end
			continue
		}
		e := n.runs[i]
		piece := q[:min(int64(len(q)), (e.first+e.count)*size-off)]
		if e.unwritten {
			clear(piece)
		} else {
			at, err := n.v.at(e.place)
			if err != nil {
				return err
			}
			if err := block.Full(n.v.r, piece, at+off-e.first*size); err != nil {
				return err
			}
		}
		q, off = q[len(piece):], off+int64(len(piece))
	}
	return nil
}

// load reads all extents once.
func (n *node) load() error {
	if n.loaded {
		return nil
	}
	n.loaded = true
	switch n.format {
	case formatExtent:
		if n.count > uint64(len(n.fork)/extentBytes) {
			return filesystem.Broken("xfs: inode %d has more extents than room", n.number)
		}
		return n.take(n.fork, int(n.count))
	case formatBtree:
		return n.loadTree()
	}
	return filesystem.Broken("xfs: inode %d has data of format %d", n.number, n.format)
}

// take reads packed extents: a flag, 54 bits of offset, 52 of place, 21 of count.
func (n *node) take(b []byte, count int) error {
	for i := range count {
		hi, lo := binary.BigEndian.Uint64(b[i*extentBytes:]), binary.BigEndian.Uint64(b[i*extentBytes+8:])
		e := extent{first: int64(hi << 1 >> 10), count: int64(lo & (1<<21 - 1)), place: hi&(1<<9-1)<<43 | lo>>21, unwritten: hi>>63 == 1}
		if len(n.runs) >= maxExtents || e.count == 0 || len(n.runs) > 0 && e.first < n.runs[len(n.runs)-1].first+n.runs[len(n.runs)-1].count || e.first > maxFirst {
			return filesystem.Broken("xfs: the extents of inode %d are too many or out of order", n.number)
		}
		n.runs = append(n.runs, e)
	}
	return nil
}

// loadTree goes down the left edge of the tree whose root is in the inode, then
// along the leaves.
func (n *node) loadTree() error {
	be := binary.BigEndian
	f := n.fork
	if len(f) < 4 {
		return filesystem.Broken("xfs: the extents of inode %d make no sense", n.number)
	}
	level, most := int(be.Uint16(f)), (len(f)-4)/16
	if be.Uint16(f[2:]) == 0 || most == 0 || level == 0 || level > maxLevels {
		return filesystem.Broken("xfs: the extents of inode %d make no sense", n.number)
	}
	next := be.Uint64(f[4+most*8:])
	header := longHeader
	if n.v.v5 {
		header = longHeaderV5
	}
	for next != ^uint64(0) {
		b, err := n.treeBlock(next)
		if err != nil {
			return err
		}
		count := int(be.Uint16(b[6:]))
		most := (len(b) - header) / 16
		if int(be.Uint16(b[4:])) != level-1 || count == 0 || count > most {
			return filesystem.Broken("xfs: the extents of inode %d make no sense", n.number)
		}
		if level == 1 {
			if err := n.take(b[header:], count); err != nil {
				return err
			}
			next = be.Uint64(b[16:]) // its right neighbour
			continue
		}
		level--
		next = be.Uint64(b[header+most*8:])
	}
	return nil
}

func (n *node) treeBlock(number uint64) ([]byte, error) {
	at, err := n.v.at(number)
	if err != nil {
		return nil, err
	}
	b, err := block.Read(n.v.r, at, int(n.v.blockSize))
	if err != nil {
		return nil, err
	}
	if m := string(b[:4]); m != "BMAP" && m != "BMA3" {
		return nil, filesystem.Broken("xfs: the extents of inode %d make no sense", n.number)
	}
	return b, nil
}
