package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
	"github.com/xi2/xz"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/lzo"
)

const (
	packZlib = 1 + iota
	packLZMA
	packLZO
	packXZ
	packLZ4
	packZstd
)

const maxDict = 8 << 20

// unpack decompresses a block to at most most bytes.
func unpack(how uint16, b []byte, most int) ([]byte, error) {
	var r io.Reader
	var err error
	in := bytes.NewReader(b)
	switch how {
	case packZlib:
		r, err = zlib.NewReader(in)
	case packLZMA:
		if len(b) < 5 || binary.LittleEndian.Uint32(b[1:]) > maxDict {
			return nil, filesystem.Broken("squashfs: a packed block makes no sense")
		}
		r, err = lzma.NewReader(in)
	case packLZO:
		return whole(lzo.Unpack(b, most))
	case packXZ:
		r, err = xz.NewReader(in, maxDict)
	case packLZ4:
		out := make([]byte, most)
		n, err := lz4.UncompressBlock(b, out)
		return whole(out[:max(0, n)], err)
	case packZstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxDict), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	default:
		return nil, droveway.Missing("squashfs-compression", "squashfs: packed in way %d", how)
	}
	if err != nil {
		return whole(nil, err)
	}
	out := make([]byte, most)
	n, err := io.ReadFull(r, out)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the last block of a file is shorter
	}
	return whole(out[:n], err)
}

func whole(b []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, filesystem.Broken("squashfs: a packed block: %v", err)
	}
	return b, nil
}
