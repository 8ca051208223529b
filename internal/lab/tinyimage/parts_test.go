package tinyimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/initramfs"
)

func TestInitrdWithoutItsFileIsAnError(t *testing.T) {
	t.Parallel()
	w := initramfs.NewWriter(&bytes.Buffer{})
	if err := addFile(w, "init", filepath.Join(t.TempDir(), "missing"), 0o755); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: want the missing file", err)
	}
}

// TestTimerIsNotTried boots by neither firmware with a check that fails on a busy host.
func TestTimerIsNotTried(t *testing.T) {
	t.Parallel()
	for _, config := range []string{bootConfig, uefiConfig} {
		if !slices.Contains(strings.Fields(config), "no_timer_check") {
			t.Errorf("the kernel tries its timer: %q", config)
		}
	}
}

func TestPartitionEntry(t *testing.T) {
	t.Parallel()
	e := make([]byte, 16)
	partition(e, 0x80, typeFAT, 1<<20, 32<<20)
	if e[0] != 0x80 || e[4] != typeFAT || binary.LittleEndian.Uint32(e[8:]) != 2048 || binary.LittleEndian.Uint32(e[12:]) != 65536 {
		t.Errorf("% x: want an active partition of 65536 sectors from 2048 on", e)
	}
}

func TestRecordsAreFoundByTheTable(t *testing.T) {
	t.Parallel()
	s := make([]byte, sector)
	copy(s[SignatureAt:], Signature)
	partition(s[table+tableSize:], 0, typeData, 33<<20, 31<<20)
	offset, size, err := Records(bytes.NewReader(s))
	if err != nil || offset != 33<<20 || size != 31<<20 {
		t.Errorf("%d bytes at %d, %v: want 31 MiB at 33 MiB", size, offset, err)
	}
}

func FuzzRecords(f *testing.F) {
	s := make([]byte, sector)
	copy(s[SignatureAt:], Signature)
	partition(s[table+tableSize:], 0, typeData, 33<<20, 31<<20)
	f.Add(s)
	f.Add(s[:100])
	f.Add(make([]byte, sector))
	f.Fuzz(func(t *testing.T, b []byte) {
		if offset, size, err := Records(bytes.NewReader(b)); err == nil && (offset < 0 || size < 0) {
			t.Errorf("%d bytes at %d", size, offset)
		}
	})
}
