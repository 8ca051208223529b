// Package lzo decompresses LZO1X, which Btrfs and squashfs use. It computes only.
package lzo

import "errors"

var (
	errInput  = errors.New("lzo: the data end too early")
	errOutput = errors.New("lzo: more data than there may be")
	errBack   = errors.New("lzo: a reference before the beginning")
)

// state is a decompression. The instructions are those of
// Documentation/staging/lzo.rst of Linux.
type state struct {
	in   []byte
	at   int
	out  []byte
	most int
}

// Unpack decompresses to at most most bytes.
func Unpack(in []byte, most int) ([]byte, error) {
	s := &state{in: in, out: make([]byte, 0, most), most: most}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s.out, nil
}

func (s *state) next() (int, error) {
	if s.at >= len(s.in) {
		return 0, errInput
	}
	s.at++
	return int(s.in[s.at-1]), nil
}

// length reads a number that did not fit its instruction: each zero byte adds
// 255.
func (s *state) length(base int) (int, error) {
	for n := base; ; n += 255 {
		b, err := s.next()
		if err != nil {
			return 0, err
		}
		if b != 0 {
			return n + b, nil
		}
	}
}

func (s *state) literals(n int) error {
	switch {
	case n > len(s.in)-s.at:
		return errInput
	case n > s.most-len(s.out):
		return errOutput
	}
	s.out = append(s.out, s.in[s.at:s.at+n]...)
	s.at += n
	return nil
}

func (s *state) match(distance, n int) error {
	switch {
	case distance > len(s.out):
		return errBack
	case n > s.most-len(s.out):
		return errOutput
	}
	for range n { // byte by byte, as the two may overlap
		s.out = append(s.out, s.out[len(s.out)-distance])
	}
	return nil
}

// run carries instructions out. What those below 16 mean depends on how many
// literals came before: none, 1 to 3, or a run of at least 4.
func (s *state) run() error {
	before := 0
	if len(s.in) > 0 && s.in[0] > 17 {
		n := int(s.in[0]) - 17
		s.at = 1
		if err := s.literals(n); err != nil {
			return err
		}
		before = min(n, 4)
	}
	for {
		op, err := s.next()
		if err != nil {
			return err
		}
		if op < 16 && before == 0 {
			if before, err = s.literalRun(op); err != nil {
				return err
			}
			continue
		}
		distance, n, tail, err := s.decode(op, before)
		if err != nil || distance == 0 {
			return err // nil at the end mark
		}
		if err := s.match(distance, n); err != nil {
			return err
		}
		if err := s.literals(tail); err != nil {
			return err
		}
		before = tail
	}
}

func (s *state) literalRun(op int) (int, error) {
	n := op + 3
	if op == 0 {
		var err error
		if n, err = s.length(18); err != nil {
			return 0, err
		}
	}
	return 4, s.literals(n)
}

// decode reads a match: how far back, how long, and how many literals follow.
func (s *state) decode(op, before int) (distance, n, tail int, err error) {
	switch {
	case op >= 64:
		h, err := s.next()
		return h<<3 + op>>2&7 + 1, op>>5 + 1, op & 3, err
	case op >= 32:
		n = op&31 + 2
		if op&31 == 0 {
			if n, err = s.length(33); err != nil {
				return 0, 0, 0, err
			}
		}
		d, err := s.word()
		return d>>2 + 1, n, d & 3, err
	case op >= 16:
		n = op&7 + 2
		if op&7 == 0 {
			if n, err = s.length(9); err != nil {
				return 0, 0, 0, err
			}
		}
		d, err := s.word()
		distance = (op&8)<<11 + d>>2
		if distance == 0 {
			return 0, 0, 0, err
		}
		return distance + 16384, n, d & 3, err
	}
	h, err := s.next()
	distance, n = h<<2+op>>2+1, 2
	if before == 4 {
		distance, n = distance+2048, 3
	}
	return distance, n, op & 3, err
}

func (s *state) word() (int, error) {
	lo, err := s.next()
	if err != nil {
		return 0, err
	}
	hi, err := s.next()
	return lo | hi<<8, err
}
