package format

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
)

// bomb packs 128 MiB of zeros.
func bomb(t *testing.T, pack func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pack(&b)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 1<<20)
	for range 128 {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBomb unpacks a cluster that holds 128 MiB: no more than a cluster of it is
// ever made. SYSTEMS 5.10.
func TestBomb(t *testing.T) {
	for name, c := range map[string]struct {
		pack   func(io.Writer) (io.WriteCloser, error)
		unpack decompressor
	}{
		"deflate": {func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) }, inflater()},
		"zlib":    {func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriterLevel(w, zlib.BestSpeed) }, zlibInflater()},
		"zstd": {func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
		}, zstdUnpacker()},
	} {
		t.Run(name, func(t *testing.T) {
			packed := bomb(t, c.pack)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := unpackFrom(bytes.NewReader(packed), 0, int64(len(packed)), 64<<10, c.unpack)
			runtime.ReadMemStats(&after)
			if err != nil || len(got) != 64<<10 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if took := after.TotalAlloc - before.TotalAlloc - uint64(len(packed)); took > 32<<20 {
				t.Errorf("it took %d MiB of memory", took>>20)
			}
		})
	}
}

// TestWideWindow has a stream that asks for gigabytes before it gives a byte.
func TestWideWindow(t *testing.T) {
	frame := []byte("\x28\xb5\x2f\xfd\x00\xa8\x03\x00\x00x") // window of 2 GiB, then a block of one byte
	if _, err := unpackFrom(bytes.NewReader(frame), 0, int64(len(frame)), 1, zstdUnpacker()); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "window size") {
		t.Errorf("%v, want that its window is too large", err)
	}
	if _, err := block.Read(bytes.NewReader(frame), 0, block.MaxRead+1); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a read of more than is allowed: %v", err)
	}
}
