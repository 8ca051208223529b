package record

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordComesBack(t *testing.T) {
	t.Parallel()
	want := Record{Run: 7, Seq: 1 << 40, Slot: 9, Time: time.Unix(1700000000, 12345).UTC()}
	block := make([]byte, Size)
	want.Encode(block)
	got, err := Decode(block)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOneWrongByteIsNoRecord(t *testing.T) {
	t.Parallel()
	block := make([]byte, Size)
	Record{Run: 7, Seq: 1, Slot: 9}.Encode(block)
	for i := range block {
		block[i] ^= 1
		if r, err := Decode(block); err == nil {
			t.Errorf("byte %d changed, and still %+v", i, r)
		}
		block[i] ^= 1
	}
}

func TestEverySlotIsUsedOnceARing(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{Size, Size + 1, 3 * Size, 40 << 20, 8 << 30} {
		a, err := NewArea(size)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]bool{}
		for seq := range a.Slots {
			seen[a.Slot(seq+5)] = true
		}
		if len(seen) != int(a.Slots) {
			t.Errorf("%d bytes: %d of %d slots are used", size, len(seen), a.Slots)
		}
		if end := a.Offset(a.Slots-1) + Size; end > size {
			t.Errorf("%d bytes: the last slot ends at %d", size, end)
		}
	}
	if _, err := NewArea(Size - 1); err == nil {
		t.Error("an area without room for one record was accepted")
	}
}

func TestScanFindsTheNewest(t *testing.T) {
	t.Parallel()
	const size = 64 * Size
	a, err := NewArea(size)
	if err != nil {
		t.Fatal(err)
	}
	region := bytes.Repeat([]byte{0xa5}, size)
	for seq := uint64(1); seq <= 100; seq++ {
		Record{Seq: seq, Slot: a.Slot(seq)}.Encode(region[a.Offset(a.Slot(seq)):][:Size])
	}
	// A record that was copied to where it does not belong counts for nothing.
	Record{Seq: 1000, Slot: a.Slot(1000)}.Encode(region[a.Offset(a.Slot(50)):][:Size])
	bySlot, newest, err := a.Scan(bytes.NewReader(region), func() []byte { return make([]byte, Size) })
	if err != nil {
		t.Fatal(err)
	}
	if newest.Seq != 100 || len(bySlot) != 63 {
		t.Errorf("newest %d in %d slots: want 100 in 63", newest.Seq, len(bySlot))
	}
}

func FuzzDecode(f *testing.F) {
	block := make([]byte, Size)
	Record{Run: 7, Seq: 1, Slot: 9}.Encode(block)
	f.Add(block)
	f.Add([]byte("dwrec001"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		again := make([]byte, Size)
		r.Encode(again)
		if got, err := Decode(again); err != nil || got != r {
			t.Errorf("%+v comes back as %+v, %v", r, got, err)
		}
	})
}
