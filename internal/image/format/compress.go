package format

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/inflate"
)

// decompressor gives what is packed in a stream. It is read only as far as
// wanted, so a bomb costs no more than a cluster. Each keeps its tables for the
// next stream, and so serves one at a time.
type decompressor func(io.Reader) (io.Reader, error)

func inflater() decompressor {
	src := bufio.NewReaderSize(nil, packedAhead)
	z := inflate.NewReader(src)
	return func(r io.Reader) (io.Reader, error) {
		src.Reset(r)
		z.Reset(src)
		return z, nil
	}
}

func zlibInflater() decompressor {
	src := bufio.NewReaderSize(nil, packedAhead)
	var z *inflate.Zlib
	return func(r io.Reader) (_ io.Reader, err error) {
		src.Reset(r)
		if z == nil {
			z, err = inflate.NewZlib(src)
		} else {
			err = z.Reset(src)
		}
		return z, err
	}
}

// packedAhead is more than a cluster of 64 KiB, packed, has.
const packedAhead = 128 << 10

// A window as large as the largest cluster suffices.
const zstdWindow = 8 << 20

// zstdUnpacker needs no closing, as with one worker it starts no goroutine.
func zstdUnpacker() decompressor {
	var z *zstd.Decoder
	return func(r io.Reader) (io.Reader, error) {
		var err error
		if z == nil {
			z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
			return z, err
		}
		return z, z.Reset(r)
	}
}

// unpackFrom decompresses length bytes at off to size bytes; a shorter stream is
// filled with zeros only if it is whole.
func unpackFrom(f io.ReaderAt, off, length, size int64, unpack decompressor) ([]byte, error) {
	packed, err := block.Read(f, off, int(min(length, block.MaxRead)))
	if err != nil {
		return nil, err
	}
	r, err := unpack(bytes.NewReader(packed))
	if err != nil {
		return nil, damaged(off, err)
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, damaged(off, err)
	}
	if z, sums := r.(*inflate.Zlib); sums { // at its end
		if _, err := z.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
			return nil, damaged(off, err)
		}
	}
	return out, nil
}

func damaged(off int64, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return droveway.Errorf(droveway.Invalid, "compressed data at %d: %w: the image is damaged", off, err)
}
