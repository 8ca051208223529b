package inflate

import "encoding/binary"

const (
	// ahead is how many bytes are taken at once.
	ahead = 8
	// stride is how much is copied at once: nine of ten copies are no longer.
	stride = 2 * ahead
)

// quick unpacks while so much can be taken at once, and the longest copy has room. It
// keeps everything in variables of its own: fields would be written back each time.
//
// Of n only the lowest six bits count, so that a whole entry can be taken off it. Each
// turn begins with 56 bits or more: a length with its distance has 48 at most, two
// literals of the first table 22. The entry of the next codeword is looked up before a
// copy, as each may have to wait for memory; it is taken only in the next turn.
func (z *Reader) quick() (ended bool, err error) {
	codes, win, in := z.codewords, z.win, z.in
	pos, wr, buf, n := z.pos, z.wr, z.buf, z.n
	if pos+4*ahead > len(in) {
		return false, nil
	}
	buf |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
	pos += int((63 - n) >> 3 & 7)
	n |= 56
	e := codes[buf&(1<<litBits-1)]
	for pos+3*ahead <= len(in) && wr < history+room {
		if e&literal != 0 {
			buf, n = buf>>(e&takeMask), n-uint(e)
			win[wr] = byte(e >> baseShift)
			wr++
			if e = codes[buf&(1<<litBits-1)]; e&literal != 0 {
				buf, n = buf>>(e&takeMask), n-uint(e)
				win[wr] = byte(e >> baseShift)
				wr++
				e = codes[buf&(1<<litBits-1)]
			}
			buf |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n) >> 3 & 7)
			n |= 56
			if e&literal != 0 {
				continue
			}
		}
		if e&link != 0 {
			buf, n = buf>>litBits, n-litBits
			if e = codes[second(e, buf)%litRoom]; e&literal != 0 {
				buf, n = buf>>(e&takeMask), n-uint(e)
				win[wr] = byte(e >> baseShift)
				wr++
				buf |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
				pos += int((63 - n) >> 3 & 7)
				n |= 56
				e = codes[buf&(1<<litBits-1)]
				continue
			}
		}
		if e&copying == 0 {
			buf, n = buf>>(e&takeMask), n-uint(e)
			if ended = e&end != 0; ended {
				z.todo = (*Reader).head
			} else {
				err = ErrDamaged
			}
			break
		}
		length := e.value(buf)
		buf, n = buf>>(e&takeMask), n-uint(e)

		d := codes[litRoom+buf&(1<<distBits-1)]
		if d&link != 0 {
			buf, n = buf>>distBits, n-distBits
			d = codes[litRoom+second(d, buf)%distRoom]
		}
		distance := d.value(buf)
		buf, n = buf>>(d&takeMask), n-uint(d)
		if d&copying == 0 || distance > wr {
			err = ErrDamaged
			break
		}
		buf |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3 & 7)
		n |= 56
		e = codes[buf&(1<<litBits-1)]
		if distance < ahead {
			repeat(win[:], wr, distance, length)
			wr += length
			continue
		}
		to, from := uint(wr), uint(wr-distance)
		if to > window-stride || from > window-stride { // never; it spares checks below
			err = ErrDamaged
			break
		}
		copyWords((*[stride]byte)(win[to:]), (*[stride]byte)(win[from:]))
		wr += length
		for ; length > stride; length -= stride {
			to, from = to+stride, from+stride
			if to > window-stride || from > window-stride {
				return false, ErrDamaged
			}
			copyWords((*[stride]byte)(win[to:]), (*[stride]byte)(win[from:]))
		}
	}
	z.pos, z.wr, z.buf, z.n = pos, wr, buf, n&63
	return ended, err
}

// second is the place in the table behind a link.
func second(e entry, buf uint64) uint64 {
	return uint64(e>>baseShift) + buf&(1<<(e>>codeShift&codeMask)-1)
}

// copyWords copies word after word, as what comes later may be a copy of what comes first.
func copyWords(to, from *[stride]byte) {
	binary.LittleEndian.PutUint64(to[0*ahead:], binary.LittleEndian.Uint64(from[0*ahead:]))
	binary.LittleEndian.PutUint64(to[1*ahead:], binary.LittleEndian.Uint64(from[1*ahead:]))
}
