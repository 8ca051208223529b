package tinyimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Mode int64
	Data string
}

// unpack reads a "newc" archive.
func unpack(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	number := func(at int) int64 {
		n, err := strconv.ParseInt(string(b[at:at+8]), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	align := func(n int) int { return (n + 3) &^ 3 }
	entries := map[string]entry{}
	for at := 0; ; {
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		mode, size, length := number(at+14), int(number(at+54)), int(number(at+94))
		name := string(b[at+110 : at+110+length-1])
		if name == "TRAILER!!!" {
			return entries
		}
		data := align(at + 110 + length)
		entries[name] = entry{mode, string(b[data : data+size])}
		at = align(data + size)
	}
}

func TestArchiveIsReadBack(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := newArchive(&b)
	a.dir("modules")
	a.file("modules/00-f", file, 0o644)
	a.file("init", file, 0o755)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := map[string]entry{"modules": {0o040755, ""}, "modules/00-f": {0o100644, "hello"}, "init": {0o100755, "hello"}}
	if d := cmp.Diff(want, unpack(t, b.Bytes())); d != "" {
		t.Error(d)
	}
}

func TestArchiveWithoutItsFileIsAnError(t *testing.T) {
	t.Parallel()
	a := newArchive(&bytes.Buffer{})
	a.file("init", filepath.Join(t.TempDir(), "missing"), 0o755)
	if err := a.close(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: want the missing file", err)
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
