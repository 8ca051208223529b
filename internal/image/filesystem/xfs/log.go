package xfs

import (
	"encoding/binary"

	"github.com/droveway/droveway/internal/image/block"
)

// The numbers of the log, from xfs_log_format.h of Linux.
const (
	logUnit      = 512
	logMagic     = 0xfeedbabe
	logUnmount   = 0x20
	logVersion2  = 2
	logHeadUnit  = 32 << 10 // bytes of a record that one header sector covers
	logMaxRecord = 2 * 256 << 10 / logUnit
)

// journal is the log in the filesystem: a ring whose sectors begin with the
// number of the turn in which they were written.
type journal struct {
	v           *volume
	at, sectors int64
}

// unclean says why the log must be replayed, or nothing: when it ends with an
// unmount record, and when it is on another disk.
func (v *volume) unclean(super []byte) string {
	be := binary.BigEndian
	start, blocks := be.Uint64(super[48:]), int64(be.Uint32(super[96:]))
	if start == 0 {
		return ""
	}
	at, err := v.at(start)
	if err != nil {
		return "its log cannot be found"
	}
	j := &journal{v, at, blocks * v.blockSize / logUnit}
	clean, err := j.clean()
	switch {
	case err != nil:
		return "its log cannot be read"
	case !clean:
		return "the log was not replayed: it was not unmounted"
	}
	return ""
}

func (j *journal) sector(i int64) ([]byte, error) {
	i = (i%j.sectors + j.sectors) % j.sectors
	return block.Read(j.v.r, j.at+i*logUnit, logUnit)
}

func (j *journal) turn(i int64) (uint32, error) {
	b, err := j.sector(i)
	if err != nil {
		return 0, err
	}
	if n := binary.BigEndian.Uint32(b); n != logMagic {
		return n, nil
	}
	return binary.BigEndian.Uint32(b[4:]), nil
}

// head finds where the current turn ends: sectors before it have its number,
// those after it the one before, or none.
func (j *journal) head() (int64, error) {
	first, err := j.turn(0)
	if err != nil {
		return 0, err
	}
	lo, hi := int64(1), j.sectors
	for lo < hi {
		mid := (lo + hi) / 2
		n, err := j.turn(mid)
		if err != nil {
			return 0, err
		}
		if n == first {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// clean looks at the last record before the head.
func (j *journal) clean() (bool, error) {
	if j.sectors <= 0 {
		return false, nil
	}
	head, err := j.head()
	if err != nil {
		return false, err
	}
	be := binary.BigEndian
	for i := head - 1; i >= head-min(logMaxRecord, j.sectors); i-- {
		b, err := j.sector(i)
		if err != nil {
			return false, err
		}
		if be.Uint32(b) != logMagic {
			continue
		}
		headers := int64(1)
		if size := int64(be.Uint32(b[320:])); be.Uint32(b[8:]) == logVersion2 && size > logHeadUnit && size < 1<<20 {
			headers = (size + logHeadUnit - 1) / logHeadUnit
		}
		op, err := j.sector(i + headers)
		return be.Uint32(b[40:]) == 1 && err == nil && op[9]&logUnmount != 0, err
	}
	return false, nil
}
