// Package record is the evidence that a guest leaves on its disk: numbered,
// checksummed records of one block each, in a ring of slots that is spread over
// the whole area. It holds their layout and nothing else; guest, observer and
// check share it.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Size is the size of a record in bytes: one block, written as a whole or not.
const Size = 4096

// maxSlots bounds how long a guest looks for its newest record at its start.
const maxSlots = 4096

// Record is what stands in a slot. Seq grows by one with each record; the record
// Seq lies in slot Area.Slot(Seq), over the one that was there a ring ago.
type Record struct {
	Run  uint64 // the process that wrote it
	Seq  uint64 // from 1
	Slot uint64
	Time time.Time // the guest's clock
}

// Magic is what every record begins with, and nothing else holds.
const Magic = "dwrec001"

// Positions in a record; the pattern fills the rest.
const (
	atCRC     = 8
	atRun     = 16
	atSeq     = 24
	atSlot    = 32
	atTime    = 40
	atPattern = 48
)

// Encode fills a block with the record.
func (r Record) Encode(block []byte) {
	copy(block, Magic)
	binary.LittleEndian.PutUint64(block[atRun:], r.Run)
	binary.LittleEndian.PutUint64(block[atSeq:], r.Seq)
	binary.LittleEndian.PutUint64(block[atSlot:], r.Slot)
	binary.LittleEndian.PutUint64(block[atTime:], uint64(r.Time.UnixNano()))
	// A pattern that differs in every word and record, so that a block mixed
	// from two is not taken for either.
	for i, x := atPattern, r.Seq; i < Size; i += 8 {
		x += 0x9e3779b97f4a7c15
		binary.LittleEndian.PutUint64(block[i:], x^x>>29)
	}
	binary.LittleEndian.PutUint64(block[atCRC:], uint64(crc32.ChecksumIEEE(block[atRun:Size])))
}

// ErrNone says that a block holds no whole record.
var ErrNone = errors.New("no record")

// Decode reads a block.
func Decode(block []byte) (Record, error) {
	if len(block) != Size || string(block[:len(Magic)]) != Magic {
		return Record{}, ErrNone
	}
	if binary.LittleEndian.Uint64(block[atCRC:]) != uint64(crc32.ChecksumIEEE(block[atRun:])) {
		return Record{}, ErrNone
	}
	return Record{
		Run:  binary.LittleEndian.Uint64(block[atRun:]),
		Seq:  binary.LittleEndian.Uint64(block[atSeq:]),
		Slot: binary.LittleEndian.Uint64(block[atSlot:]),
		Time: time.Unix(0, int64(binary.LittleEndian.Uint64(block[atTime:]))).UTC(),
	}, nil
}

// Area is a region of a disk, or a file, that holds records.
type Area struct {
	Slots  uint64 // a power of two
	stride int64  // bytes from slot to slot
}

// NewArea lays slots out over a region of a size in bytes.
func NewArea(size int64) (Area, error) {
	if size < Size {
		return Area{}, fmt.Errorf("a region of %d bytes has no room for a record of %d", size, Size)
	}
	slots := uint64(maxSlots)
	for int64(slots)*Size > size {
		slots /= 2
	}
	return Area{Slots: slots, stride: size / int64(slots) / Size * Size}, nil
}

// Slot is where a record goes. Neighbours in time lie far apart on the disk: an
// odd factor permutes the numbers below a power of two.
func (a Area) Slot(seq uint64) uint64 { return seq * 0x9e3779b1 % a.Slots }

// Offset is where a slot begins, in bytes from the region's beginning.
func (a Area) Offset(slot uint64) int64 { return int64(slot) * a.stride }

// readers is how many slots are looked at together. One after the other the time
// that a guest takes to begin would be that of thousands of trips to its disk, which
// no system needs to come up.
const readers = 16

// Scan reads the newest record of every slot; slots without one are left out. It
// reads into what block makes.
func (a Area) Scan(region io.ReaderAt, block func() []byte) (bySlot map[uint64]Record, newest Record, err error) {
	s := scan{Area: a, region: region, found: make([]Record, a.Slots)}
	errs := make([]error, readers)
	var wait sync.WaitGroup
	for n := range errs {
		wait.Go(func() { errs[n] = s.read(block()[:Size]) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, Record{}, err
	}
	bySlot = map[uint64]Record{}
	for slot, r := range s.found {
		if r.Seq == 0 { // numbers begin with 1
			continue
		}
		bySlot[uint64(slot)] = r
		if r.Seq > newest.Seq {
			newest = r
		}
	}
	return bySlot, newest, nil
}

// scan is a Scan that is under way.
type scan struct {
	Area
	region io.ReaderAt
	next   atomic.Uint64
	found  []Record // by slot
}

func (s *scan) read(block []byte) error {
	for slot := s.next.Add(1) - 1; slot < s.Slots; slot = s.next.Add(1) - 1 {
		if _, err := s.region.ReadAt(block, s.Offset(slot)); err != nil {
			return fmt.Errorf("read record slot %d: %w", slot, err)
		}
		if r, err := Decode(block); err == nil && r.Slot == slot && s.Slot(r.Seq) == slot {
			s.found[slot] = r
		}
	}
	return nil
}
