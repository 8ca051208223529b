package inflate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// ErrDamaged says that a stream is none, or damaged.
var ErrDamaged = errors.New("the compressed data are damaged")

const (
	history = 32 << 10
	room    = 96 << 10 // beyond the history, until it is moved
	longest = 258      // of a copy
	slack   = stride   // that a copy may write beyond its end
	window  = history + room + longest + slack
)

// Reader unpacks a stream.
type Reader struct {
	src *bufio.Reader
	in  []byte // what src has buffered
	pos int    // up to where in has been taken into buf

	buf uint64 // bits, the next one lowest. Above n it may have bits of in beyond pos
	n   uint   // how many there are

	win    *[window]byte // what was unpacked: history, and what is not yet read
	rd, wr int

	todo  func(*Reader) error // what comes next
	last  bool                // the block is the last one
	plain int                 // bytes of a stored block that are still to come
	err   error

	codewords       *[litRoom + distRoom]entry // of lit and dist
	mean            *symbols
	lit, dist, lens table
}

// NewReader unpacks DEFLATE.
func NewReader(src *bufio.Reader) *Reader {
	codewords := new([litRoom + distRoom]entry)
	z := &Reader{
		win: new([window]byte), mean: newSymbols(), codewords: codewords,
		lit: table{codewords[:litRoom], litBits}, dist: table{codewords[litRoom:], distBits}, lens: table{make([]entry, lenRoom), lenBits},
	}
	z.Reset(src)
	return z
}

// Reset begins anew with another stream, in the same memory.
func (z *Reader) Reset(src *bufio.Reader) {
	z.src, z.in, z.pos, z.buf, z.n = src, nil, 0, 0, 0
	z.rd, z.wr = 0, 0
	z.todo, z.last, z.plain, z.err = (*Reader).head, false, 0, nil
}

// Read gives what was unpacked. io.EOF is the sound end of the stream; then src is
// just behind it.
func (z *Reader) Read(p []byte) (int, error) {
	for z.rd == z.wr {
		if z.err != nil {
			return 0, z.err
		}
		z.more()
	}
	n := copy(p, z.win[z.rd:z.wr])
	z.rd += n
	return n, nil
}

// more unpacks until the window is full or the stream ends.
func (z *Reader) more() {
	if z.wr > history {
		copy(z.win[:], z.win[z.wr-history:z.wr])
		z.rd, z.wr = history, history
	}
	for z.err == nil && !z.full() {
		z.err = z.todo(z)
	}
}

func (z *Reader) full() bool { return z.wr >= history+room }

// head reads the head of a block.
func (z *Reader) head() error {
	if z.last {
		return z.finish()
	}
	b, err := z.bits(3)
	if err != nil {
		return err
	}
	z.last = b&1 != 0
	switch b >> 1 {
	case 0:
		return z.stored()
	case 1:
		return z.fixed()
	case 2:
		return z.dynamic()
	}
	return ErrDamaged
}

// finish gives back what was taken ahead.
func (z *Reader) finish() error {
	if _, err := z.src.Discard(z.pos - int(z.n>>3)); err != nil {
		return err
	}
	return io.EOF
}

func (z *Reader) stored() error {
	z.drop(z.n & 7)
	b, err := z.bits(32)
	if err != nil {
		return err
	}
	if b&0xffff != b>>16^0xffff {
		return ErrDamaged
	}
	z.plain, z.todo = int(b&0xffff), (*Reader).copyStored
	return nil
}

func (z *Reader) copyStored() error {
	z.pos -= int(z.n >> 3)
	z.buf, z.n = 0, 0
	for z.plain > 0 && !z.full() {
		if z.pos == len(z.in) {
			if err := z.refill(1); err != nil {
				return err
			}
		}
		n := copy(z.win[z.wr:history+room], z.in[z.pos:min(len(z.in), z.pos+z.plain)])
		z.wr, z.pos, z.plain = z.wr+n, z.pos+n, z.plain-n
	}
	if z.plain == 0 {
		z.todo = (*Reader).head
	}
	return nil
}

func (z *Reader) fixed() error {
	var lengths [maxCodes + 32]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		case i < maxCodes:
			lengths[i] = 8
		default:
			lengths[i] = 5
		}
	}
	return z.begin(lengths[:maxCodes], lengths[maxCodes:])
}

// begin begins a block with codes of these lengths.
func (z *Reader) begin(lit, dist []uint8) error {
	if !z.lit.build(lit, &z.mean.lit) || !z.dist.build(dist, &z.mean.dist) {
		return ErrDamaged
	}
	z.todo = (*Reader).codes
	return nil
}

// order is that in which the lengths of the code of lengths come.
var order = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (z *Reader) dynamic() error {
	b, err := z.bits(14)
	if err != nil {
		return err
	}
	lits, dists, codes := int(b&31)+257, int(b>>5&31)+1, int(b>>10)+4
	if lits > 286 || dists > 30 {
		return ErrDamaged
	}
	var own [19]uint8
	for _, i := range order[:codes] {
		b, err := z.bits(3)
		if err != nil {
			return err
		}
		own[i] = uint8(b)
	}
	if !z.lens.build(own[:], &z.mean.lens) {
		return ErrDamaged
	}
	var lengths [286 + 30]uint8
	if err := z.lengths(lengths[:lits+dists]); err != nil {
		return err
	}
	if lengths[256] == 0 {
		return ErrDamaged // it could not end
	}
	return z.begin(lengths[:lits], lengths[lits:lits+dists])
}

// lengths reads the lengths of codewords, which are themselves coded.
func (z *Reader) lengths(into []uint8) error {
	for i := 0; i < len(into); {
		e, err := z.symbol(&z.lens)
		if err != nil {
			return err
		}
		what := uint8(e.base())
		if what < 16 {
			into[i] = what
			i++
			continue
		}
		repeated := uint8(0)
		if what == 16 {
			if i == 0 {
				return ErrDamaged
			}
			repeated = into[i-1]
		}
		kind := [3]struct{ bits, least uint }{{2, 3}, {3, 3}, {7, 11}}[what-16]
		b, err := z.bits(kind.bits)
		if err != nil {
			return err
		}
		n := int(b) + int(kind.least)
		if n > len(into)-i {
			return ErrDamaged
		}
		for range n {
			into[i] = repeated
			i++
		}
	}
	return nil
}

// codes unpacks a block, or what of it there is room for: quickly while there is
// enough of input and window, and else a symbol at a time.
func (z *Reader) codes() error {
	for !z.full() {
		if ended, err := z.quick(); ended || err != nil {
			return err
		}
		if z.full() {
			return nil
		}
		if ended, err := z.slow(); ended || err != nil {
			return err
		}
	}
	return nil
}

// slow unpacks one symbol near the end of what is buffered.
func (z *Reader) slow() (ended bool, err error) {
	e, err := z.symbol(&z.lit)
	if err != nil {
		return false, err
	}
	switch {
	case e&literal != 0:
		z.win[z.wr] = byte(e >> baseShift)
		z.wr++
		return false, nil
	case e&end != 0:
		z.todo = (*Reader).head
		return true, nil
	}
	length, err := z.extra(e)
	if err != nil {
		return false, err
	}
	d, err := z.symbol(&z.dist)
	if err != nil {
		return false, err
	}
	distance, err := z.extra(d)
	if err != nil {
		return false, err
	}
	if distance > z.wr {
		return false, ErrDamaged
	}
	repeat(z.win[:], z.wr, distance, length)
	z.wr += length
	return false, nil
}

// symbol reads a codeword, and leaves its extra bits.
func (z *Reader) symbol(t *table) (entry, error) {
	short := z.want(maxCode)
	e := t.entries[z.buf&(1<<t.first-1)]
	if e&link != 0 {
		if z.n < t.first {
			return 0, short
		}
		z.drop(t.first)
		e = t.entries[uint64(e.base())+z.buf&(1<<(e>>codeShift&codeMask)-1)]
	}
	code := uint(e >> codeShift & codeMask)
	switch {
	case code > z.n && short != nil:
		return 0, short
	case e == 0:
		if short != nil {
			return 0, short
		}
		return 0, ErrDamaged
	}
	z.drop(code)
	return e, nil
}

// extra reads the extra bits of a codeword.
func (z *Reader) extra(e entry) (int, error) {
	b, err := z.bits(e.take() - uint(e>>codeShift&codeMask))
	return e.base() + int(b), err
}

// bits reads up to 32 bits.
func (z *Reader) bits(n uint) (uint64, error) {
	if err := z.want(n); err != nil {
		return 0, err
	}
	b := z.buf & (1<<n - 1)
	z.drop(n)
	return b, nil
}

func (z *Reader) drop(n uint) {
	z.buf >>= n
	z.n -= n
}

// want takes bits until there are n; io.ErrUnexpectedEOF if there are not so many.
func (z *Reader) want(n uint) error {
	for z.n < n {
		if z.pos == len(z.in) {
			if err := z.refill(1); err != nil {
				return err
			}
		}
		z.buf |= uint64(z.in[z.pos]) << z.n
		z.pos++
		z.n += 8
	}
	return nil
}

// refill looks at more of src, at least so many bytes beyond pos. What is in buf stays
// in sight, so that it can be given back.
func (z *Reader) refill(least int) error {
	back := int(z.n >> 3)
	if _, err := z.src.Discard(z.pos - back); err != nil {
		return err
	}
	z.in, z.pos = nil, 0
	in, err := z.src.Peek(back + least)
	if len(in) < back+least {
		z.in, z.pos = in, min(back, len(in))
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	z.in, _ = z.src.Peek(z.src.Buffered()) // it is there
	z.pos = back
	return nil
}

// repeat copies within the window. It may write up to 7 bytes too many.
func repeat(win []byte, to, distance, length int) {
	from := to - distance
	switch {
	case distance >= 8:
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(win[to+i:], binary.LittleEndian.Uint64(win[from+i:]))
		}
	case distance == 1:
		run := uint64(win[from]) * 0x0101010101010101
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(win[to+i:], run)
		}
	default:
		for i := range length {
			win[to+i] = win[from+i]
		}
	}
}
