// Package ntfs reads NTFS filesystems, without compressed and encrypted files.
//
// It reads from the io.ReaderAt it is given and touches nothing else. The layout
// is that of the NTFS documentation of the Linux-NTFS project.
package ntfs

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

const (
	bootBytes  = 512
	fixupUnit  = 512
	recordMFT  = 0
	recordLog  = 2
	recordVol  = 3
	recordRoot = 5
	maxRecords = 1 << 32

	attrList       = 0x20
	attrName       = 0x60
	attrInfo       = 0x70
	attrData       = 0x80
	attrIndexRoot  = 0x90
	attrIndexAlloc = 0xa0
	attrBitmap     = 0xb0
	attrEnd        = 0xffffffff

	volumeDirty = 1
)

type volume struct {
	r                   io.ReaderAt
	info                filesystem.Info
	cluster, recordSize int64
	mft                 *stream
}

// Is reports whether an NTFS begins at the start of r.
func Is(r io.ReaderAt) bool {
	b, err := block.Read(r, 3, 8)
	return err == nil && string(b) == "NTFS    "
}

// Open opens a filesystem.
func Open(r io.ReaderAt) (filesystem.Volume, error) {
	b, err := block.Read(r, 0, bootBytes)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	sector, per := int64(le.Uint16(b[11:])), int64(b[13])
	if per > 128 {
		per = 1 << min(256-per, 20)
	}
	v := &volume{r: r, cluster: sector * per}
	v.recordSize = int64(int8(b[64])) * v.cluster
	if n := int8(b[64]); n < 0 {
		v.recordSize = 1 << min(-int(n), 20)
	}
	total, at := le.Uint64(b[40:]), le.Uint64(b[48:])
	if sector < 256 || sector > 4096 || v.cluster < 512 || v.cluster > 2<<20 || v.cluster&(v.cluster-1) != 0 || v.recordSize < 512 || v.recordSize > 64<<10 || v.recordSize%fixupUnit != 0 || total > 1<<50 || at > 1<<45 {
		return nil, filesystem.Broken("ntfs: the boot sector makes no sense")
	}
	v.info = filesystem.Info{Kind: "ntfs", UUID: fmt.Sprintf("%016X", le.Uint64(b[72:])), Size: int64(total) * sector, Free: -1, FoldCase: true}
	if err := v.openMFT(int64(at) * v.cluster); err != nil {
		return nil, err
	}
	v.readVolume()
	return v, nil
}

// openMFT reads the table's own record, which says where the rest of it is.
func (v *volume) openMFT(at int64) error {
	b, err := block.Read(v.r, at, int(v.recordSize))
	if err != nil {
		return err
	}
	v.mft = &stream{v: v, runs: []run{{0, (v.recordSize + v.cluster - 1) / v.cluster, at / v.cluster}}, size: v.recordSize}
	rec, err := v.parseRecord(recordMFT, b)
	if err != nil {
		return err
	}
	data, err := rec.stream(attrData, "")
	if err != nil {
		return err
	}
	v.mft = data
	return nil
}

// What makes a volume dirty.
const (
	unclean  = "it is marked as not clean"
	cutShort = "its log says that Windows was cut off, or left it open for a fast startup"
)

// readVolume reads label and state; without them the volume is read all the
// same.
func (v *volume) readVolume() {
	if v.inUse() {
		v.info.Dirty = cutShort
	}
	rec, err := v.record(recordVol)
	if err != nil {
		return
	}
	if s, err := rec.stream(attrName, ""); err == nil {
		if b, err := s.all(512); err == nil {
			v.info.Label = utf16Text(b)
		}
	}
	if s, err := rec.stream(attrInfo, ""); err == nil {
		if b, err := s.all(12); err == nil && len(b) == 12 && b[10]&volumeDirty != 0 {
			v.info.Dirty = unclean
		}
	}
}

func (v *volume) Info() filesystem.Info { return v.info }

func (v *volume) Root() (filesystem.Node, error) { return v.open(recordRoot)() }

func (v *volume) record(number uint64) (*record, error) {
	if number > maxRecords {
		return nil, filesystem.Broken("ntfs: record %d", number)
	}
	b := make([]byte, v.recordSize)
	if err := block.Full(v.mft, b, int64(number)*v.recordSize); err != nil {
		return nil, err
	}
	return v.parseRecord(number, b)
}

// fixUp puts the last two bytes of each sector back, which were replaced by a
// number that shows torn writes.
func fixUp(b []byte, magic string) error {
	le := binary.LittleEndian
	at, count := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if string(b[:4]) != magic || count == 0 || at+2*count > len(b) || (count-1)*fixupUnit > len(b) {
		return filesystem.Broken("ntfs: a %s block makes no sense", magic)
	}
	for i := 1; i < count; i++ {
		end := b[i*fixupUnit-2:]
		if le.Uint16(end) != le.Uint16(b[at:]) {
			return filesystem.Broken("ntfs: a %s block was torn", magic)
		}
		copy(end[:2], b[at+2*i:])
	}
	return nil
}
