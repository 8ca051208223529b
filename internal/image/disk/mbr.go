package disk

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/droveway/droveway/internal/image/block"
)

const (
	mbrEntries    = 446
	mbrEntry      = 16
	mbrProtective = 0xee
	maxLogical    = 128
	firstLogical  = 5
)

type mbrPart struct {
	active       byte
	kind         byte
	start, count int64 // bytes
}

func mbrPartAt(b []byte, i int) mbrPart {
	e := b[mbrEntries+i*mbrEntry:]
	return mbrPart{e[0], e[4], int64(binary.LittleEndian.Uint32(e[8:])) * sector, int64(binary.LittleEndian.Uint32(e[12:])) * sector}
}

func protective(b []byte) bool {
	for i := range 4 {
		if mbrPartAt(b, i).kind == mbrProtective {
			return true
		}
	}
	return false
}

func extended(kind byte) bool { return kind == 0x05 || kind == 0x0f || kind == 0x85 }

// readMBR says whether the sector holds partitions at all: the boot sector of a
// filesystem has the same signature, but no sane entries.
func (t *Table) readMBR(r io.ReaderAt, b []byte, size int64) bool {
	for i := range 4 {
		if mbrPartAt(b, i).active&0x7f != 0 {
			return false
		}
	}
	found := false
	for i := range 4 {
		p := mbrPartAt(b, i)
		if p.kind == 0 || p.count == 0 {
			continue
		}
		found = true
		if extended(p.kind) {
			t.readLogical(r, p.start, size)
			continue
		}
		t.add(t.mbrPart(p, i+1, 0), size)
	}
	return found
}

func (t *Table) mbrPart(p mbrPart, number int, base int64) Part {
	return Part{
		Number: number, Start: base + p.start, Size: p.count, Type: fmt.Sprintf("%02x", p.kind),
		UUID: fmt.Sprintf("%s-%02x", t.ID, number), Boot: p.active == 0x80,
	}
}

// readLogical follows the chain of extended boot records, which a hostile disk
// may close to a ring.
func (t *Table) readLogical(r io.ReaderAt, base, size int64) {
	seen := map[int64]bool{}
	at := base
	for number := firstLogical; number < firstLogical+maxLogical; number++ {
		if seen[at] {
			t.note("the chain of logical partitions is a ring: the rest is left out")
			return
		}
		seen[at] = true
		b, err := block.Read(r, at, sector)
		if err != nil || b[510] != 0x55 || b[511] != 0xaa {
			t.note("the chain of logical partitions is broken: the rest is left out")
			return
		}
		if p := mbrPartAt(b, 0); p.count > 0 {
			t.add(t.mbrPart(p, number, at), size)
		}
		next := mbrPartAt(b, 1)
		if next.count == 0 || !extended(next.kind) {
			return
		}
		at = base + next.start
	}
}
