package initramfs

import (
	"bytes"
	"errors"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Mode int64
	Data string
}

// entriesOf reads a "newc" archive.
func entriesOf(t *testing.T, b []byte) map[string]entry {
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

// TestWriter writes what another reader of the format finds.
func TestWriter(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Dir("modules")
	w.File("modules/00-f", 0o644, []byte("hello"))
	w.File("init", 0o755, []byte("hello"))
	w.Device("console", 5, 1)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[string]entry{"modules": {0o040755, ""}, "modules/00-f": {0o100644, "hello"}, "init": {0o100755, "hello"}, "console": {0o020600, ""}}
	if d := cmp.Diff(want, entriesOf(t, b.Bytes())); d != "" {
		t.Error(d)
	}
}

type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriterTellsThatItCannotWrite(t *testing.T) {
	t.Parallel()
	w := NewWriter(full{})
	w.File("init", 0o755, make([]byte, 4<<20))
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}
