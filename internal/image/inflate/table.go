package inflate

import "math/bits"

// entry is what a codeword stands for, with all that is needed to act on it.
//
//	bits 0–4   how many bits to take in all: codeword and extra bits
//	bits 5–7   what it is, and bit 13
//	bits 8–12  length of the codeword; of a link, of the index into the second table
//	bits 16–   the literal, the base of the length or distance, the place of the second table
//
// Zero is a codeword that there is not.
type entry uint32

const (
	literal entry = 1 << 5 // a byte
	copying entry = 1 << 6 // a length or a distance
	link    entry = 1 << 7 // the codeword goes on in a second table
	end     entry = 1 << 13

	takeMask  = 31
	codeShift = 8
	codeMask  = 31
	baseShift = 16
)

func (e entry) take() uint { return uint(e & takeMask) }

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
	var count, next [maxCode + 2]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	code, used := 0, 0
	for n := 1; n <= maxCode; n++ {
		next[n] = code
		used += count[n]
		code = (code + count[n]) << 1
	}
	full := code == 1<<(maxCode+1)
	if !full && !(used == 0 || used == 1 && count[1] == 1) {
		return false
	}
	clear(t.entries)
	var codes [maxCodes]uint16
	var beyond [1 << litBits]uint8 // bits of the longest codeword with these first ones, behind them
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		c := uint(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		codes[s] = uint16(c)
		if uint(n) > t.first {
			head := c & (1<<t.first - 1)
			beyond[head] = max(beyond[head], n-uint8(t.first))
		}
	}
	return t.fill(lengths, &codes, &beyond, symbols)
}

func (t *table) fill(lengths []uint8, codes *[maxCodes]uint16, beyond *[1 << litBits]uint8, symbols *[maxCodes]entry) bool {
	free := 1 << t.first
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		c, width, at, size := int(codes[s]), int(n), 0, 1<<t.first
		if uint(n) > t.first {
			head := c & (1<<t.first - 1)
			second := int(beyond[head])
			if t.entries[head] == 0 {
				if free+1<<second > len(t.entries) {
					return false
				}
				t.entries[head] = link | entry(t.first) | entry(second)<<codeShift | entry(free)<<baseShift
				free += 1 << second
			}
			at, size = int(t.entries[head]>>baseShift), 1<<second
			c, width = c>>t.first, width-int(t.first)
		}
		e := symbols[s]
		if e != 0 {
			e = e&^(codeMask<<codeShift) + entry(width) | entry(width)<<codeShift
		}
		for i := c; i < size; i += 1 << width {
			t.entries[at+i] = e
		}
	}
	return true
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
