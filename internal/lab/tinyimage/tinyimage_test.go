package tinyimage

import (
	"bytes"
	"io"
	"testing"

	"github.com/droveway/droveway"
)

func TestTooSmallIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := Build(t.Context(), Config{Cache: t.TempDir(), SizeMiB: MinSizeMiB - 1}); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v: want a refusal of kind invalid", err)
	}
}

func TestMissingKernelSaysWhatToDo(t *testing.T) {
	t.Parallel()
	if _, err := Build(t.Context(), Config{Cache: t.TempDir(), Kernel: t.TempDir(), SizeMiB: 64}); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("%v: want a refusal of kind not found", err)
	}
}

func TestNoiseHasNoZeroBlockAndRepeats(t *testing.T) {
	t.Parallel()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	if _, err := io.ReadFull(noise(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(noise(), b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two streams differ")
	}
	for i := 0; i < len(a); i += sector {
		if bytes.Equal(a[i:i+sector], make([]byte, sector)) {
			t.Errorf("sector %d is zero", i/sector)
		}
	}
}
