package discover

import "hash/maphash"

// byISN finds slots of pending by the sequence numbers that they hold. There are
// more than caches hold, and each is looked for about once: what an event costs is
// how often that has to wait for memory. A cell is small and next to where it
// belongs, so that it is once for what is not there, and once more, for the slot
// itself, for what is.
type byISN struct {
	seed  maphash.Seed // nobody can foresee who shares a cell
	cells []cell       // their number is a power of two
	size  int
}

// cell is a slot, by its hash: where it belongs are the lowest bits of that. It lies
// there or after, and no empty cell between.
type cell struct {
	hash uint32
	slot uint32 // 0: empty
}

const fewestCells = 64

func newByISN() byISN {
	return byISN{seed: maphash.MakeSeed(), cells: make([]cell, fewestCells)}
}

func (b *byISN) hash(isn uint64) uint32 { return uint32(maphash.Comparable(b.seed, isn)) }

func (b *byISN) mask() uint32 { return uint32(len(b.cells) - 1) }

// get gives the slot that holds the numbers; 0: none.
func (b *byISN) get(isn uint64, holds func(slot uint32) uint64) uint32 {
	h := b.hash(isn)
	for i := h & b.mask(); b.cells[i].slot != 0; i = (i + 1) & b.mask() {
		if c := b.cells[i]; c.hash == h && holds(c.slot) == isn {
			return c.slot
		}
	}
	return 0
}

// put adds a slot that holds numbers which no other holds.
func (b *byISN) put(isn uint64, slot uint32) {
	if b.size >= len(b.cells)/4*3 {
		b.grow()
	}
	b.place(cell{b.hash(isn), slot})
	b.size++
}

func (b *byISN) place(c cell) {
	i := c.hash & b.mask()
	for b.cells[i].slot != 0 {
		i = (i + 1) & b.mask()
	}
	b.cells[i] = c
}

func (b *byISN) grow() {
	old := b.cells
	b.cells = make([]cell, 2*len(old))
	for _, c := range old {
		if c.slot != 0 {
			b.place(c)
		}
	}
}

// remove forgets a slot, if it is there.
func (b *byISN) remove(isn uint64, slot uint32) {
	i := b.hash(isn) & b.mask()
	for b.cells[i].slot != slot {
		if b.cells[i].slot == 0 {
			return
		}
		i = (i + 1) & b.mask()
	}
	b.close(i)
	b.size--
}

// close empties a cell, and moves into it what would not be found behind it.
func (b *byISN) close(gap uint32) {
	for i := (gap + 1) & b.mask(); b.cells[i].slot != 0; i = (i + 1) & b.mask() {
		if off := (i - b.cells[i].hash) & b.mask(); off >= (i-gap)&b.mask() {
			b.cells[gap] = b.cells[i]
			gap = i
		}
	}
	b.cells[gap] = cell{}
}
