package inflate

import "encoding/binary"

// ahead is how many bytes are taken at once.
const ahead = 8

// quick unpacks while so much can be taken at once, and the longest copy has room. It
// keeps everything in variables of its own: fields would be written back each time.
//
// One refill gives 56 bits or more: a length with its distance has 48 at most, three
// literals of the first table 33.
func (z *Reader) quick() (ended bool, err error) {
	lit, dist := (*[litRoom]entry)(z.lit.entries), (*[distRoom]entry)(z.dist.entries)
	in, win := z.in, z.win
	pos, wr, buf, n := z.pos, z.wr, z.buf, z.n
	for pos+ahead <= len(in) && wr < history+room {
		buf |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n&63) >> 3)
		n |= 56

		e := lit[buf&(1<<litBits-1)]
		if e&literal != 0 {
			buf, n = buf>>(e&takeMask), n-e.take()
			win[wr] = byte(e >> baseShift)
			wr++
			if e = lit[buf&(1<<litBits-1)]; e&literal != 0 {
				buf, n = buf>>(e&takeMask), n-e.take()
				win[wr] = byte(e >> baseShift)
				wr++
				if e = lit[buf&(1<<litBits-1)]; e&literal != 0 {
					buf, n = buf>>(e&takeMask), n-e.take()
					win[wr] = byte(e >> baseShift)
					wr++
					continue
				}
			}
			if pos+ahead > len(in) {
				break
			}
			buf |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n&63) >> 3)
			n |= 56
		}
		if e&link != 0 {
			buf, n = buf>>litBits, n-litBits
			e = lit[(uint64(e>>baseShift)+buf&(1<<(e>>codeShift&codeMask)-1))%litRoom]
			if e&literal != 0 {
				buf, n = buf>>(e&takeMask), n-e.take()
				win[wr] = byte(e >> baseShift)
				wr++
				continue
			}
		}
		if e&copying == 0 {
			buf, n = buf>>(e&takeMask), n-e.take()
			if ended = e&end != 0; ended {
				z.todo = (*Reader).head
			} else {
				err = ErrDamaged
			}
			break
		}
		length := e.value(buf)
		buf, n = buf>>(e&takeMask), n-e.take()

		d := dist[buf&(1<<distBits-1)]
		if d&link != 0 {
			buf, n = buf>>distBits, n-distBits
			d = dist[(uint64(d>>baseShift)+buf&(1<<(d>>codeShift&codeMask)-1))%distRoom]
		}
		distance := d.value(buf)
		buf, n = buf>>(d&takeMask), n-d.take()
		if d&copying == 0 || distance > wr {
			err = ErrDamaged
			break
		}
		if distance < ahead {
			repeat(win, wr, distance, length)
			wr += length
			continue
		}
		from, to := wr-distance, wr
		for wr += length; to < wr; from, to = from+ahead, to+ahead {
			binary.LittleEndian.PutUint64(win[to:], binary.LittleEndian.Uint64(win[from:]))
		}
	}
	z.pos, z.wr, z.buf, z.n = pos, wr, buf, n
	return ended, err
}
