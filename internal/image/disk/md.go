package disk

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/droveway/droveway/internal/image/block"
)

const (
	mdMagic = 0xa92b4efc
	mdRAID1 = 1
)

// Member is a member of an MD array.
type Member struct {
	Array string // UUID
	Name  string
	Level int
	Disks int
	R     io.ReaderAt // of RAID 1: the data, which each member has whole
	Size  int64
}

// OpenMember reads the superblock of a member of an MD array, of version 1.1,
// 1.2, 1.0 or 0.90. The layout is that of md_p.h of Linux.
func OpenMember(r io.ReaderAt, size int64) (Member, bool) {
	for _, at := range []int64{0, 4096, (size/sector - 16) &^ 7 * sector} {
		b, err := block.Read(r, at, sector)
		if err == nil && binary.LittleEndian.Uint32(b) == mdMagic && binary.LittleEndian.Uint32(b[4:]) == 1 {
			return memberV1(r, size, b), true
		}
	}
	at := size&^(64<<10-1) - 64<<10
	b, err := block.Read(r, at, sector)
	if err != nil || binary.LittleEndian.Uint32(b) != mdMagic || binary.LittleEndian.Uint32(b[4:]) != 0 {
		return Member{}, false
	}
	le := binary.LittleEndian
	m := Member{Array: fmt.Sprintf("%08x%08x%08x%08x", le.Uint32(b[20:]), le.Uint32(b[52:]), le.Uint32(b[56:]), le.Uint32(b[60:])), Level: int(int32(le.Uint32(b[28:]))), Disks: int(le.Uint32(b[40:]))}
	m.limit(r, 0, int64(le.Uint32(b[32:]))*1024, size)
	return m, true
}

func memberV1(r io.ReaderAt, size int64, b []byte) Member {
	le := binary.LittleEndian
	m := Member{Array: fmt.Sprintf("%x", b[16:32]), Name: block.Text(b[32:64]), Level: int(int32(le.Uint32(b[72:]))), Disks: int(le.Uint32(b[92:]))}
	off, length := le.Uint64(b[128:]), le.Uint64(b[80:])
	if length == 0 {
		length = le.Uint64(b[136:])
	}
	if off < maxOnDisk && length < maxOnDisk {
		m.limit(r, int64(off)*sector, int64(length)*sector, size)
	}
	return m
}

// limit gives the data of a mirror; those of other levels are spread.
func (m *Member) limit(r io.ReaderAt, off, length, size int64) {
	if m.Level == mdRAID1 && off < size && length > 0 {
		m.Size = min(length, size-off)
		m.R = block.Section(r, off, m.Size)
	}
}
