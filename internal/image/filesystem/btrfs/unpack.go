package btrfs

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/lzo"
)

const (
	packZlib = 1
	packLZO  = 2
	packZstd = 3
)

// unpack decompresses an extent to at most size bytes.
func unpack(how byte, b []byte, size, sector int) ([]byte, error) {
	switch how {
	case packZlib:
		z, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, filesystem.Broken("btrfs: a packed extent: %v", err)
		}
		return drain(z, size)
	case packZstd:
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return drain(z, size)
	case packLZO:
		return unpackLZO(b, size, sector)
	}
	return nil, filesystem.Broken("btrfs: packed in way %d", how)
}

// drain reads size bytes; what follows is the padding of the extent.
func drain(r io.Reader, size int) ([]byte, error) {
	out := make([]byte, size)
	n, err := io.ReadFull(r, out)
	if n == 0 && err != nil {
		return nil, filesystem.Broken("btrfs: a packed extent: %v", err)
	}
	return out[:n], nil
}

// unpackLZO reads a length, then segments of a sector each with their lengths,
// which never lie across the end of a sector.
func unpackLZO(b []byte, size, sector int) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < 4 {
		return nil, filesystem.Broken("btrfs: a packed extent is too short")
	}
	total := int(min(int64(le.Uint32(b)), int64(len(b))))
	out := make([]byte, 0, size)
	for at := 4; at+4 <= total && len(out) < size; {
		length := int64(le.Uint32(b[at:]))
		at += 4
		if length > int64(total-at) {
			return nil, filesystem.Broken("btrfs: a packed extent makes no sense")
		}
		piece, err := lzo.Unpack(b[at:at+int(length)], min(sector, size-len(out)))
		if err != nil {
			return nil, filesystem.Broken("btrfs: a packed extent: %v", err)
		}
		out = append(out, piece...)
		at += int(length)
		if left := sector - at%sector; left < 4 {
			at += left
		}
	}
	return out, nil
}
