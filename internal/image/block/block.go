// Package block reads pieces of a disk whose contents are not trusted: reads of
// bounded length, sections, a page cache and a budget for a whole inspection.
//
// It reads from the io.ReaderAt it is given and touches nothing else.
package block

import (
	"errors"
	"io"

	"github.com/droveway/droveway"
)

// MaxRead is the longest single read, in bytes: no length field of a hostile
// disk makes us allocate more.
const MaxRead = 16 << 20

// Read reads exactly n bytes at off. Too long a read, a place outside and an
// early end are Invalid.
func Read(r io.ReaderAt, off int64, n int) ([]byte, error) {
	if n < 0 || n > MaxRead || off < 0 {
		return nil, droveway.Errorf(droveway.Invalid, "read of %d bytes at %d: out of bounds", n, off)
	}
	b := make([]byte, n)
	if err := Full(r, b, off); err != nil {
		return nil, err
	}
	return b, nil
}

// Full fills b from off.
func Full(r io.ReaderAt, b []byte, off int64) error {
	if off < 0 {
		return droveway.Errorf(droveway.Invalid, "read at %d: out of bounds", off)
	}
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return droveway.Errorf(droveway.Invalid, "read of %d bytes at %d: it ends after %d: the disk is truncated or damaged", len(b), off, n)
	}
	return err
}

// Section is the part of r from off on, size bytes long.
func Section(r io.ReaderAt, off, size int64) *io.SectionReader {
	return io.NewSectionReader(r, off, max(size, 0))
}

// Clip shortens p to what lies before size; done says that nothing does. It
// serves implementations of io.ReaderAt.
func Clip(p []byte, off, size int64) (clipped []byte, done bool) {
	if off < 0 || off >= size {
		return nil, true
	}
	return p[:min(int64(len(p)), size-off)], false
}

// Text is the bytes up to the first zero, as text.
func Text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
