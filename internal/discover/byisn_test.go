package discover

import (
	"math/rand/v2"
	"testing"
)

// Slots are found by their numbers alone, whatever came and went, and however
// many belong into the same cells.
func TestByISN(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	b, model, holds := newByISN(), map[uint64]uint32{}, map[uint32]uint64{}
	look := func(slot uint32) uint64 { return holds[slot] }
	for step := range uint32(100_000) {
		isn := r.Uint64N(3000)
		switch slot, known := model[isn]; {
		case b.get(isn, look) != slot:
			t.Fatalf("step %d: slot %d holds %d, not %d", step, slot, isn, b.get(isn, look))
		case known:
			b.remove(isn, slot)
			delete(model, isn)
		default:
			holds[step+1] = isn
			model[isn] = step + 1
			b.put(isn, step+1)
		}
	}
	for isn, slot := range model {
		if got := b.get(isn, look); got != slot {
			t.Errorf("slot %d holds %d, not %d", slot, isn, got)
		}
		b.remove(isn, slot)
	}
	for _, c := range b.cells {
		if c != (cell{}) {
			t.Fatalf("%+v is left", c)
		}
	}
	if b.size != 0 {
		t.Errorf("%d are left", b.size)
	}
}

// Numbers whose hashes are the same are still told apart.
func TestByISNOfTheSameHash(t *testing.T) {
	t.Parallel()
	b := newByISN()
	b.put(1, 10)
	h := b.hash(2)
	for i := range b.cells {
		if b.cells[i].slot == 10 {
			b.close(uint32(i))
		}
	}
	b.place(cell{h, 10})
	b.place(cell{h, 20})
	holds := func(slot uint32) uint64 { return uint64(slot / 10) }
	if got := b.get(2, holds); got != 20 {
		t.Errorf("slot %d, want 20", got)
	}
	b.remove(2, 20)
	if got := b.get(2, holds); got != 0 {
		t.Errorf("slot %d, want none", got)
	}
}
