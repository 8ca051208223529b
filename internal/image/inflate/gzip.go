package inflate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Flags of the header, RFC 1952, section 2.3.1.
const (
	hasSum     = 1 << 1
	hasExtra   = 1 << 2
	hasName    = 1 << 3
	hasComment = 1 << 4

	gzipHead = 10
	gzipTail = 8
	maxText  = 64 << 10 // of a name or a comment
)

// Gzip unpacks one member of a gzip file.
type Gzip struct {
	z    *Reader
	src  *bufio.Reader
	sum  uint32
	size uint32
	err  error
}

// NewGzip reads the header of a member.
func NewGzip(src *bufio.Reader) (*Gzip, error) {
	h := make([]byte, gzipHead)
	if _, err := io.ReadFull(src, h); err != nil {
		return nil, early(err)
	}
	if h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		return nil, ErrDamaged
	}
	if h[3]&hasExtra != 0 {
		if _, err := io.ReadFull(src, h[:2]); err != nil {
			return nil, early(err)
		}
		if _, err := src.Discard(int(binary.LittleEndian.Uint16(h))); err != nil {
			return nil, early(err)
		}
	}
	for _, flag := range []byte{hasName, hasComment} {
		if h[3]&flag != 0 {
			if err := skipText(src); err != nil {
				return nil, err
			}
		}
	}
	if h[3]&hasSum != 0 {
		if _, err := src.Discard(2); err != nil {
			return nil, early(err)
		}
	}
	return &Gzip{z: NewReader(src), src: src}, nil
}

func skipText(src *bufio.Reader) error {
	for range maxText {
		b, err := src.ReadByte()
		if err != nil {
			return early(err)
		}
		if b == 0 {
			return nil
		}
	}
	return ErrDamaged
}

func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read gives what was unpacked. io.EOF says that the member was whole, and its
// checksum right; then src is just behind it.
func (g *Gzip) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.z.Read(p)
	g.sum = crc32.Update(g.sum, crc32.IEEETable, p[:n])
	g.size += uint32(n)
	if err == io.EOF {
		err = g.check()
	}
	g.err = err
	return n, err
}

// check compares the checksum and the length behind the data; io.EOF if they are right.
func (g *Gzip) check() error {
	tail := make([]byte, gzipTail)
	if _, err := io.ReadFull(g.src, tail); err != nil {
		return early(err)
	}
	if binary.LittleEndian.Uint32(tail) != g.sum || binary.LittleEndian.Uint32(tail[4:]) != g.size {
		return ErrDamaged
	}
	return io.EOF
}
