package xfs

import (
	"encoding/binary"

	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	dirHeader   = 16
	dirHeaderV5 = 64
	dirTail     = 8
	dirLeaf     = 8
	freeTag     = 0xffff
	leafAt      = 1 << 35 // bytes: hash tables are from here on
)

// List reads a directory in its inode, or the data blocks of a larger one.
func (n *node) List(fn func(filesystem.Entry) error) error {
	if !n.stat.IsDir() {
		return filesystem.Broken("xfs: inode %d is not a folder", n.number)
	}
	if n.format == formatLocal {
		return n.shortForm(fn)
	}
	if err := n.load(); err != nil {
		return err
	}
	size := n.v.blockSize << n.v.dirLg
	per := int64(1) << n.v.dirLg
	b := make([]byte, size)
	last := int64(-1)
	for _, e := range n.runs {
		for d := e.first / per; d*per < e.first+e.count && d*size < leafAt; d++ {
			if d <= last {
				continue
			}
			last = d
			if err := n.readData(b, d*size); err != nil {
				return err
			}
			if err := n.dataBlock(b, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// shortForm reads a directory that is in its inode.
func (n *node) shortForm(fn func(filesystem.Entry) error) error {
	b := n.fork[:min(int64(len(n.fork)), n.stat.Size)]
	if len(b) < 6 {
		return filesystem.Broken("xfs: folder %d makes no sense", n.number)
	}
	count, wide := int(b[0]), 4
	if b[1] > 0 {
		wide = 8
	}
	b = b[min(len(b), 2+wide):]
	for range count {
		if len(b) < 3 {
			return filesystem.Broken("xfs: folder %d makes no sense", n.number)
		}
		name := int(b[0])
		length := 3 + name + wide
		if n.v.ftype {
			length++
		}
		if length > len(b) {
			return filesystem.Broken("xfs: folder %d makes no sense", n.number)
		}
		number := uint64(binary.BigEndian.Uint32(b[length-wide:]))
		if wide == 8 {
			number = binary.BigEndian.Uint64(b[length-wide:])
		}
		if err := fn(filesystem.Entry{Name: string(b[3 : 3+name]), Open: n.v.open(number)}); err != nil {
			return err
		}
		b = b[length:]
	}
	return nil
}

// dataBlock reads the entries of one block; that of a directory of one block
// has its hash table at the end.
func (n *node) dataBlock(b []byte, fn func(filesystem.Entry) error) error {
	be := binary.BigEndian
	header, end := dirHeader, len(b)
	switch string(b[:4]) {
	case "XDB3", "XDD3":
		header = dirHeaderV5
	case "XD2B", "XD2D":
	default:
		return filesystem.Broken("xfs: a block of folder %d makes no sense", n.number)
	}
	if string(b[:4]) == "XDB3" || string(b[:4]) == "XD2B" {
		if leaves := int64(be.Uint32(b[end-dirTail:])) * dirLeaf; leaves < int64(end-dirTail-header) {
			end -= dirTail + int(leaves)
		}
	}
	for b = b[header:end]; len(b) >= dirTail; {
		length := int(be.Uint16(b[2:]))
		if be.Uint16(b) != freeTag {
			var err error
			if length, err = n.dirEntry(b, fn); err != nil {
				return err
			}
		}
		if length < dirTail || length > len(b) || length%8 != 0 {
			return filesystem.Broken("xfs: an entry of folder %d makes no sense", n.number)
		}
		b = b[length:]
	}
	return nil
}

func (n *node) dirEntry(b []byte, fn func(filesystem.Entry) error) (int, error) {
	if len(b) < 9 {
		return 0, nil
	}
	name := int(b[8])
	length := 8 + 1 + name + 2
	if n.v.ftype {
		length++
	}
	length = (length + 7) &^ 7
	if length > len(b) {
		return 0, nil
	}
	s := string(b[9 : 9+name])
	if s == "." || s == ".." {
		return length, nil
	}
	return length, fn(filesystem.Entry{Name: s, Open: n.v.open(binary.BigEndian.Uint64(b))})
}
