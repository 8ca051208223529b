package inflate

import "math/bits"

// entry is what a codeword stands for, with all that is needed to act on it.
//
//	bits 0–5   how many bits to take in all: codeword and extra bits
//	bits 8–12  length of the codeword; of a link, of the index into the second table
//	bits 13–15 what it is, and bit 31
//	bits 16–30 the literal, the base of the length or distance, the place of the second table
//
// Zero is a codeword that there is not.
type entry uint32

const (
	end     entry = 1 << 13
	link    entry = 1 << 14 // the codeword goes on in a second table
	copying entry = 1 << 15 // a length or a distance
	literal entry = 1 << 31 // a byte

	takeMask  = 63
	codeShift = 8
	codeMask  = 31
	baseShift = 16
	baseMask  = 1<<15 - 1
)

func (e entry) take() uint { return uint(e & takeMask) }

// base is what the codeword stands for.
func (e entry) base() int { return int(e >> baseShift & baseMask) }

// value is the base and what the extra bits add to it.
func (e entry) value(buffer uint64) int {
	return int(e>>baseShift) + int(buffer&(1<<(e&takeMask)-1)>>(e>>codeShift&codeMask))
}

const (
	maxCode  = 15 // bits of a codeword
	maxCodes = 288

	litBits  = 11
	distBits = 8
	lenBits  = 7

	// The most that both levels take for so many symbols, as enough.c of zlib computes it.
	litRoom  = 2342
	distRoom = 402
	lenRoom  = 1 << lenBits
)

// table maps codewords: the first 1<<first entries by their first bits, second tables
// behind them.
type table struct {
	entries []entry
	first   uint
}

// build makes the table of a canonical code, RFC 1951, section 3.2.2, from the lengths
// of its codewords. It is false if the code is none: too many codewords, or too few,
// unless it has but one or none.
func (t *table) build(lengths []uint8, symbols *[maxCodes]entry) bool {
	var count [maxCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	var next [maxCode + 1]uint16 // codeword of each length
	var place [maxCode + 1]int   // of its symbol, in the order of the codewords
	code, used := 0, 0
	for n := 1; n <= maxCode; n++ {
		next[n], place[n] = uint16(code), used
		used += count[n]
		code = (code + count[n]) << 1
	}
	full := code == 1<<(maxCode+1)
	if !full && !(used == 0 || used == 1 && count[1] == 1) {
		return false
	}
	var all [maxCodes]codeword
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		e := symbols[s]
		if e != 0 {
			e += entry(n) | entry(n)<<codeShift
		}
		all[place[n]] = codeword{bits.Reverse16(next[n]) >> (16 - n), n, e}
		next[n]++
		place[n]++
	}
	return t.fillSecond(all[t.fillFirst(&count, all[:used]):used])
}

// codeword is one of a code, its first bit lowest.
type codeword struct {
	bits   uint16
	length uint8
	means  entry
}

// fillFirst fills the first table with what has room in it, and gives how many these
// are. The table of each length is that of the length before, twice, and what is new.
func (t *table) fillFirst(count *[maxCode + 1]int, all []codeword) int {
	done := 0
	t.entries[0] = 0
	for n := 1; n <= int(t.first); n++ {
		half := 1 << (n - 1)
		copy(t.entries[half:2*half], t.entries[:half])
		for _, c := range all[done : done+count[n]] {
			t.entries[c.bits] = c.means
		}
		done += count[n]
	}
	return done
}

// fillSecond fills the second tables. Codewords that begin alike are neighbours, the
// longest last.
func (t *table) fillSecond(all []codeword) bool {
	free, mask := 1<<t.first, uint16(1<<t.first-1)
	for len(all) > 0 {
		head, same := all[0].bits&mask, 1
		for same < len(all) && all[same].bits&mask == head {
			same++
		}
		width := all[same-1].length - uint8(t.first)
		if free+1<<width > len(t.entries) {
			return false
		}
		t.entries[head] = link | entry(t.first) | entry(width)<<codeShift | entry(free)<<baseShift
		for _, c := range all[:same] {
			for i := int(c.bits >> t.first); i < 1<<width; i += 1 << (c.length - uint8(t.first)) {
				t.entries[free+i] = c.means.behind(t.first)
			}
		}
		free += 1 << width
		all = all[same:]
	}
	return true
}

// behind is the entry in a second table, whose first one has taken so many bits.
func (e entry) behind(first uint) entry {
	if e == 0 {
		return 0
	}
	return e - entry(first) - entry(first)<<codeShift
}

// symbols is what the symbols of the three codes mean, without their codewords: take is
// of the extra bits alone.
type symbols struct{ lit, dist, lens [maxCodes]entry }

// newSymbols is the tables of RFC 1951, section 3.2.5.
func newSymbols() *symbols {
	s := &symbols{}
	for i := range 256 {
		s.lit[i] = literal | entry(i)<<baseShift
	}
	s.lit[256] = end
	base := 3
	for i := range 28 {
		extra := max(i/4-1, 0)
		s.lit[257+i] = copying | entry(extra) | entry(base)<<baseShift
		base += 1 << extra
	}
	s.lit[285] = copying | longest<<baseShift
	base = 1
	for i := range 30 {
		extra := max(i/2-1, 0)
		s.dist[i] = copying | entry(extra) | entry(base)<<baseShift
		base += 1 << extra
	}
	for i := range 19 {
		s.lens[i] = literal | entry(i)<<baseShift
	}
	return s
}
