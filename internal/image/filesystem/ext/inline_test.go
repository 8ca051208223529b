package ext

import (
	"encoding/binary"
	"testing"
)

// inlineInode is an inode of 256 bytes with the attribute system.data.
func inlineInode(value string) []byte {
	b := make([]byte, 256)
	le := binary.LittleEndian
	le.PutUint16(b[goodInode:], 32)
	a := b[goodInode+32:]
	le.PutUint32(a, attributesMagic)
	e := a[4:]
	e[0], e[1] = byte(len(dataName)), systemIndex
	le.PutUint16(e[2:], 40)
	le.PutUint32(e[8:], uint32(len(value)))
	copy(e[attributeBytes:], dataName)
	copy(e[40:], value)
	return b
}

func TestAttribute(t *testing.T) {
	if got := string(attribute(inlineInode("value"), systemIndex, dataName)); got != "value" {
		t.Errorf("it is %q", got)
	}
	if got := attribute(inlineInode("value"), systemIndex, "date"); got != nil {
		t.Errorf("one that is not there is %q", got)
	}
}

func FuzzAttribute(f *testing.F) {
	f.Add(inlineInode("value"))
	f.Add(inlineInode("")[:goodInode+40])
	f.Fuzz(func(t *testing.T, inode []byte) {
		if v := attribute(inode, systemIndex, dataName); len(v) > len(inode) {
			t.Errorf("%d bytes of an inode of %d", len(v), len(inode))
		}
	})
}
