package initramfs

import (
	"bufio"
	"io"
)

// frames passes zstd frames on and ends after the last one, as a decoder reads
// ahead and what follows would be lost: another archive may be appended. The
// layout is that of RFC 8878, section 3.1.1.
type frames struct {
	r     *bufio.Reader
	left  int // bytes to pass on before the next part begins
	state frameState
	sum   bool // the frame ends with a checksum
}

// frameState is what comes next.
//
//	frameHead ─▶ frameBlock ─▶ frameBlock … ─▶ frameHead
//	                                 └─▶ frameSum ─▶ frameHead
type frameState int

const (
	frameHead frameState = iota
	frameBlock
	frameSum
)

const (
	frameMagic    = "\x28\xb5\x2f\xfd"
	frameSingle   = 1 << 5
	frameHasSum   = 1 << 2
	blockLast     = 1
	blockRLE      = 1
	blockHead     = 3
	checksumBytes = 4
)

func (f *frames) Read(p []byte) (int, error) {
	for f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// next measures the next part; the end of all frames is io.EOF.
func (f *frames) next() error {
	switch f.state {
	case frameHead:
		b, err := f.r.Peek(len(frameMagic) + 1)
		if err != nil || string(b[:len(frameMagic)]) != frameMagic {
			return io.EOF
		}
		f.left, f.sum, f.state = headLength(b[len(frameMagic)]), b[len(frameMagic)]&frameHasSum != 0, frameBlock
	case frameBlock:
		b, err := f.r.Peek(blockHead)
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		h := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		size := h >> 3
		if h>>1&3 == blockRLE {
			size = 1
		}
		f.left = blockHead + size
		if h&blockLast != 0 {
			f.state = frameSum
		}
	case frameSum:
		f.state = frameHead
		if f.sum {
			f.left = checksumBytes
		}
	}
	return nil
}

// headLength is that of magic number, descriptor, window, dictionary and size.
func headLength(descriptor byte) int {
	n := len(frameMagic) + 1 + []int{0, 1, 2, 4}[descriptor&3] + []int{0, 2, 4, 8}[descriptor>>6]
	if descriptor&frameSingle == 0 || descriptor>>6 == 0 {
		n++ // the window, or a size of one byte
	}
	return n
}
