package ntfs

import (
	"encoding/binary"
	"io"
	"io/fs"

	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	indexName   = "$I30"
	entryHead   = 16
	entryLast   = 2
	nameHead    = 66
	nameDOS     = 2
	indexHeader = 24 // of a block
	maxIndex    = 256 << 20
	maxBlock    = 64 << 10
	firstUser   = 16 // records below it are the filesystem's own
)

// node is a file or a directory. Reparse points are shown as what they are
// without the filter that would follow them.
type node struct {
	rec  *record
	stat filesystem.Stat
	data *stream
}

func (v *volume) open(number uint64) func() (filesystem.Node, error) {
	return func() (filesystem.Node, error) {
		rec, err := v.record(number)
		if err != nil {
			return nil, err
		}
		if rec.flags&recordInUse == 0 {
			return nil, filesystem.Broken("ntfs: record %d is not in use", number)
		}
		n := &node{rec: rec, stat: filesystem.Stat{Mode: 0o755, ID: number}}
		if rec.flags&recordDir != 0 {
			n.stat.Mode |= fs.ModeDir
			return n, nil
		}
		if n.data, err = rec.stream(attrData, ""); err != nil {
			return nil, err
		}
		n.stat.Size = n.data.size
		return n, nil
	}
}

func (n *node) Stat() filesystem.Stat { return n.stat }

func (n *node) ReadAt(p []byte, off int64) (int, error) {
	if n.data == nil {
		return 0, io.EOF
	}
	return n.data.ReadAt(p, off)
}

// List reads the entries in the record, then all blocks of the index that are in
// use; their order does not matter.
func (n *node) List(fn func(filesystem.Entry) error) error {
	if !n.stat.IsDir() {
		return filesystem.Broken("ntfs: record %d is not a folder", n.rec.number)
	}
	s, err := n.rec.stream(attrIndexRoot, indexName)
	if err != nil {
		return err
	}
	root, err := s.all(maxBlock)
	if err != nil {
		return err
	}
	if len(root) < 32 {
		return filesystem.Broken("ntfs: the index of record %d makes no sense", n.rec.number)
	}
	if err := n.entries(root[16:], fn); err != nil {
		return err
	}
	return n.blocks(int64(binary.LittleEndian.Uint32(root[8:])), fn)
}

func (n *node) blocks(size int64, fn func(filesystem.Entry) error) error {
	alloc, err := n.rec.stream(attrIndexAlloc, indexName)
	if err != nil {
		return nil // a small folder has none
	}
	bits, err := n.rec.stream(attrBitmap, indexName)
	if err != nil {
		return err
	}
	used, err := bits.all(maxIndex / fixupUnit / 8)
	if err != nil {
		return err
	}
	if size < fixupUnit || size > maxBlock || size%fixupUnit != 0 || alloc.size > maxIndex {
		return filesystem.Broken("ntfs: the index of record %d makes no sense", n.rec.number)
	}
	b := make([]byte, size)
	for i := int64(0); (i+1)*size <= alloc.size; i++ {
		if int(i/8) >= len(used) || used[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if _, err := alloc.ReadAt(b, i*size); err != nil && err != io.EOF {
			return err
		}
		if err := fixUp(b, "INDX"); err != nil {
			return err
		}
		if err := n.entries(b[indexHeader:], fn); err != nil {
			return err
		}
	}
	return nil
}

// entries reads a list of entries, whose header says where it begins and ends.
func (n *node) entries(b []byte, fn func(filesystem.Entry) error) error {
	le := binary.LittleEndian
	bad := filesystem.Broken("ntfs: the index of record %d makes no sense", n.rec.number)
	start, end := int64(le.Uint32(b)), int64(le.Uint32(b[4:]))
	if start > end || end > int64(len(b)) {
		return bad
	}
	for b = b[start:end]; len(b) >= entryHead; {
		length, key := int(le.Uint16(b[8:])), int(le.Uint16(b[10:]))
		if le.Uint32(b[12:])&entryLast != 0 {
			return nil
		}
		if length < entryHead+key || length > len(b) || length == 0 {
			return bad
		}
		if err := n.entry(b[:length], key, fn); err != nil {
			return err
		}
		b = b[length:]
	}
	return nil
}

func (n *node) entry(b []byte, key int, fn func(filesystem.Entry) error) error {
	if key < nameHead {
		return nil
	}
	name := b[entryHead : entryHead+key]
	length := int(name[64]) * 2
	number := binary.LittleEndian.Uint64(b) & (1<<48 - 1)
	if name[65] == nameDOS || nameHead+length > len(name) || number < firstUser {
		return nil
	}
	return fn(filesystem.Entry{Name: utf16Text(name[nameHead : nameHead+length]), Open: n.rec.v.open(number)})
}
