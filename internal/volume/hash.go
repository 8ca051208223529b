package volume

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"syscall"

	"github.com/droveway/droveway"
)

// ChunkSize is the bytes of one chunk, the unit of comparison. The last chunk of
// a disk may be shorter.
const ChunkSize = 1 << 20

// Chunks is the number of chunks of a disk of that many bytes.
func Chunks(size int64) int64 { return (size + ChunkSize - 1) / ChunkSize }

// Sum is the SHA-256 of a chunk. As JSON it is a hexadecimal string.
type Sum [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(s)) {
		return droveway.Errorf(droveway.Invalid, "a sum has %d digits, not %d", hex.EncodedLen(len(s)), len(text))
	}
	if _, err := hex.Decode(s[:], text); err != nil {
		return droveway.Errorf(droveway.Invalid, "sum: %w", err)
	}
	return nil
}

// hasher hashes the chunks of one disk.
type hasher struct {
	disk Reader
	buf  []byte
	zero map[int]Sum // of so many zero bytes: of a whole chunk, and of the last

	holeFrom, holeTo int64 // the hole found last
}

func newHasher(disk Reader) *hasher {
	return &hasher{disk: disk, buf: make([]byte, ChunkSize), zero: map[int]Sum{}}
}

func (h *hasher) sum(chunk int64) (Sum, error) {
	size := h.disk.Size()
	if chunk < 0 || chunk >= Chunks(size) {
		return Sum{}, droveway.Errorf(droveway.Invalid, "chunk %d of a disk that has %d", chunk, Chunks(size))
	}
	off := chunk * ChunkSize
	b := h.buf[:min(ChunkSize, size-off)]
	if h.isHole(off, off+int64(len(b))) {
		return h.zeroSum(len(b)), nil
	}
	if n, err := h.disk.ReadAt(b, off); n < len(b) {
		return Sum{}, droveway.Errorf(droveway.Unavailable, "read %d bytes at %d: %w", len(b), off, err)
	}
	if allZero(b) {
		return h.zeroSum(len(b)), nil
	}
	return sha256.Sum256(b), nil
}

// zeroSum is the sum of n zero bytes, computed once: most of a disk is zero.
func (h *hasher) zeroSum(n int) Sum {
	sum, known := h.zero[n]
	if !known {
		sum = sha256.Sum256(make([]byte, n))
		h.zero[n] = sum
	}
	return sum
}

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), holeBlock)
		if !isZero(b[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

const seekData = 3 // SEEK_DATA of lseek(2)

// isHole reports whether the file of a raw disk has no data in a range. No is
// always a right answer, and the one for other disks. A hole is asked for once:
// what a guest writes into it afterwards goes to both copies; see Compare.
func (h *hasher) isHole(from, to int64) bool {
	if h.holeFrom <= from && to <= h.holeTo {
		return true
	}
	file, ok := h.disk.(io.Seeker)
	if !ok {
		return false
	}
	data, err := file.Seek(from, seekData)
	switch {
	case errors.Is(err, syscall.ENXIO): // no data from here on
		data = h.disk.Size()
	case err != nil:
		return false
	}
	h.holeFrom, h.holeTo = from, data
	return to <= data
}

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }
