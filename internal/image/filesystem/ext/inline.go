package ext

import (
	"encoding/binary"
	"io"

	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	attributesMagic = 0xea020000
	attributeBytes  = 16 // of an entry, before its name
	systemIndex     = 7  // of the names that begin with "system."
	dataName        = "data"
	parentBytes     = 4 // at the start of an inline folder: the number of its parent
)

// readInlineData takes the data that an inode keeps in itself: first those in the place
// of the map, then those in the attribute system.data.
func (n *node) readInlineData(inode []byte) error {
	n.kept = n.data[:]
	if n.stat.Size > mapBytes {
		n.kept = append(n.kept[:mapBytes:mapBytes], attribute(inode, systemIndex, dataName)...)
	}
	if n.stat.Size > int64(len(n.kept)) && !n.stat.Mode.IsRegular() {
		return filesystem.Broken("ext: inode %d has %d bytes and keeps %d in itself", n.number, n.stat.Size, len(n.kept))
	}
	return nil
}

// attribute gives the value of an attribute that lies in the inode; nil if there is none.
func attribute(inode []byte, index byte, name string) []byte {
	le := binary.LittleEndian
	if len(inode) < goodInode+2 {
		return nil
	}
	at := goodInode + int(le.Uint16(inode[goodInode:]))
	if at+4 > len(inode) || le.Uint32(inode[at:]) != attributesMagic {
		return nil
	}
	all := inode[at+4:]
	for e := all; len(e) >= attributeBytes && le.Uint32(e) != 0; {
		length := attributeBytes + int(e[0])
		if length > len(e) {
			return nil
		}
		if e[1] == index && string(e[attributeBytes:length]) == name {
			from, size := int(le.Uint16(e[2:])), int64(le.Uint32(e[8:]))
			if int64(from)+size > int64(len(all)) {
				return nil
			}
			return all[from : from+int(size)]
		}
		e = e[min((length+3)&^3, len(e)):]
	}
	return nil
}

// readInline reads a file in its inode. One that was made longer ends in zeros.
func (n *node) readInline(p []byte, off int64) (int, error) {
	k := int(min(int64(len(p)), n.stat.Size-off))
	held := copy(p[:k], n.kept[min(off, int64(len(n.kept))):])
	clear(p[held:k])
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

// listInline reads a folder in its inode: entries in the place of the map, and more of
// them in the attribute.
func (n *node) listInline(fn func(filesystem.Entry) error) error {
	first := min(mapBytes, n.stat.Size)
	if err := n.entries(n.kept[min(parentBytes, first):first], fn); err != nil {
		return err
	}
	return n.entries(n.kept[first:n.stat.Size], fn)
}
