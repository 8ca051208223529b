package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
	"unsafe"

	"github.com/droveway/droveway/internal/lab/record"
)

func (c Config) delay() time.Duration { return time.Duration(c.DelayMS) * time.Millisecond }

// alignedBlock is a block of memory that direct I/O accepts.
func alignedBlock() []byte {
	b := make([]byte, 2*record.Size)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (record.Size - 1)
	return b[skip : skip+record.Size]
}

// writer writes one record after the other, each durable before the next, and
// reads an older one back after each.
type writer struct {
	region Region
	area   record.Area
	delay  time.Duration
	news   *news
	block  []byte
	known  map[uint64]uint64 // slot to the Seq in it
	slots  []uint64          // the keys of known
}

func (w *writer) run(ctx context.Context) error {
	found, newest, err := w.area.Scan(w.region, alignedBlock)
	if err != nil {
		return err
	}
	w.known = map[uint64]uint64{}
	for slot, r := range found {
		w.keep(slot, r.Seq)
	}
	run := w.news.begin(newest.Seq + 1)
	for seq := newest.Seq + 1; ctx.Err() == nil; seq++ {
		if err := w.write(record.Record{Run: run, Seq: seq, Slot: w.area.Slot(seq), Time: time.Now()}); err != nil {
			return err
		}
		if err := w.readBack(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.delay):
		}
	}
	return ctx.Err()
}

func (w *writer) write(r record.Record) error {
	r.Encode(w.block)
	_, err := w.region.WriteAt(w.block, w.area.Offset(r.Slot))
	if err == nil {
		err = w.region.Flush()
	}
	if err != nil {
		return w.failed(fmt.Errorf("write record %d: %w", r.Seq, err))
	}
	w.keep(r.Slot, r.Seq)
	w.news.durable(r.Seq)
	return nil
}

func (w *writer) keep(slot, seq uint64) {
	if _, ok := w.known[slot]; !ok {
		w.slots = append(w.slots, slot)
	}
	w.known[slot] = seq
}

// readBack reads a record that was written some time ago. The wrong contents are
// evidence, not a reason to stop.
func (w *writer) readBack() error {
	slot := w.slots[rand.IntN(len(w.slots))]
	if _, err := w.region.ReadAt(w.block, w.area.Offset(slot)); err != nil {
		return w.failed(fmt.Errorf("read record %d: %w", w.known[slot], err))
	}
	r, err := record.Decode(w.block)
	if err != nil || r.Seq != w.known[slot] || r.Slot != slot {
		w.news.wrong()
	}
	return nil
}

func (w *writer) failed(err error) error {
	w.news.failed(err)
	return err
}
