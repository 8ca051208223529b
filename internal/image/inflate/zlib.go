package inflate

import (
	"bufio"
	"encoding/binary"
	"hash"
	"hash/adler32"
	"io"
)

// Of the header, RFC 1950, section 2.2.
const (
	deflateMethod = 8
	hasDictionary = 1 << 5
	zlibCheck     = 31 // divides it

	zlibTail = 4
)

// Zlib unpacks a zlib stream.
type Zlib struct {
	z   *Reader
	src *bufio.Reader
	sum hash.Hash32
	err error
}

// NewZlib reads the header of a stream.
func NewZlib(src *bufio.Reader) (*Zlib, error) {
	z := &Zlib{z: NewReader(src), sum: adler32.New()}
	return z, z.Reset(src)
}

// Reset begins anew with another stream, in the same memory.
func (z *Zlib) Reset(src *bufio.Reader) error {
	z.src, z.err = src, nil
	z.sum.Reset()
	var h [2]byte
	if _, err := io.ReadFull(src, h[:]); err != nil {
		return early(err)
	}
	if h[0]&15 != deflateMethod || h[1]&hasDictionary != 0 || binary.BigEndian.Uint16(h[:])%zlibCheck != 0 {
		return ErrDamaged
	}
	z.z.Reset(src)
	return nil
}

// Read gives what was unpacked. io.EOF says that the stream was whole, and its checksum
// right; then src is just behind it.
func (z *Zlib) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.z.Read(p)
	_, _ = z.sum.Write(p[:n]) // never fails
	if err == io.EOF {
		err = z.check()
	}
	z.err = err
	return n, err
}

// check compares the checksum behind the data; io.EOF if it is right.
func (z *Zlib) check() error {
	var tail [zlibTail]byte
	if _, err := io.ReadFull(z.src, tail[:]); err != nil {
		return early(err)
	}
	if binary.BigEndian.Uint32(tail[:]) != z.sum.Sum32() {
		return ErrDamaged
	}
	return io.EOF
}
