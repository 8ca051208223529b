package ntfs

import (
	"encoding/binary"
	"slices"

	"github.com/droveway/droveway/internal/image/block"
)

// Layout of a restart page, of which a log begins with two.
const (
	logPage     = 4096 // between them, as Windows makes them
	areaAt      = 24   // where in the page its restart area is
	areaBytes   = 16
	noClient    = 0xffff
	logWasClean = 2
)

// inUse reports whether the log says that the volume is in use: Windows was cut off, or
// has left for a fast startup what it knows of the volume in its memory. A log of which
// nothing can be told says no: the volume's own mark counts then.
func (v *volume) inUse() bool {
	rec, err := v.record(recordLog)
	if err != nil {
		return false
	}
	log, err := rec.stream(attrData, "")
	if err != nil {
		return false
	}
	var newest uint64
	inUse := false
	for _, at := range []int64{0, logPage} {
		b, err := block.Read(log, at, logPage)
		if err != nil {
			continue
		}
		if number, is, ok := restart(b); ok && number >= newest {
			newest, inUse = number, is
		}
	}
	return inUse
}

// restart reads a restart page: its number, which grows, and whether it says that the
// volume is in use. A log that was wiped, as other systems do it, has none.
func restart(b []byte) (number uint64, open, ok bool) {
	le := binary.LittleEndian
	if !slices.Contains([]string{"RSTR", "CHKD"}, string(b[:4])) || fixUp(b, string(b[:4])) != nil {
		return 0, false, false
	}
	at := int(le.Uint16(b[areaAt:]))
	if at+areaBytes > len(b) {
		return 0, false, false
	}
	area := b[at:]
	return le.Uint64(area), le.Uint16(area[12:]) != noClient && le.Uint16(area[14:])&logWasClean == 0, true
}
