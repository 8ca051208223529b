package format

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// decompressor gives what is packed in a stream. It is read only as far as
// wanted, so a bomb costs no more than a cluster.
type decompressor func(io.Reader) (io.Reader, func(), error)

func inflate(r io.Reader) (io.Reader, func(), error) {
	f := flate.NewReader(r)
	return f, func() { _ = f.Close() }, nil
}

func unzlib(r io.Reader) (io.Reader, func(), error) {
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	return z, func() { _ = z.Close() }, nil
}

// A window as large as the largest cluster suffices.
const zstdWindow = 8 << 20

func unzstd(r io.Reader) (io.Reader, func(), error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// unpackFrom decompresses length bytes at off to size bytes; a shorter stream is
// filled with zeros only if it is whole.
func unpackFrom(f io.ReaderAt, off, length, size int64, unpack decompressor) ([]byte, error) {
	packed, err := block.Read(f, off, int(min(length, block.MaxRead)))
	if err != nil {
		return nil, err
	}
	r, done, err := unpack(bytes.NewReader(packed))
	if err != nil {
		return nil, damaged(off, err)
	}
	defer done()
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, damaged(off, err)
	}
	return out, nil
}

func damaged(off int64, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return droveway.Errorf(droveway.Invalid, "compressed data at %d: %w: the image is damaged", off, err)
}
