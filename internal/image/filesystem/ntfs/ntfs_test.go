package ntfs

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/imagetest"
)

func TestImage(t *testing.T) {
	v := filesystemtest.Open(t, Open, "ntfs")
	filesystemtest.Files(t, v)
	if i := v.Info(); i.Label != "system" || i.UUID == "" || i.Dirty != "" {
		t.Errorf("%+v", i)
	}
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := filesystem.NewTree(root, v.Info().FoldCase).ReadFile("/MANY/Name-Number-7", 10); err != nil || string(b) != "7\n" {
		t.Errorf("in other case: %q (%v)", b, err)
	}
}

func FuzzNTFS(f *testing.F) { filesystemtest.Fuzz(f, Open, "ntfs") }

// restartPage is one that a Windows writes.
func restartPage(number uint64, client, flags uint16) []byte {
	le := binary.LittleEndian
	b := make([]byte, logPage)
	copy(b, "RSTR")
	le.PutUint16(b[4:], 30) // the ends of the sectors, and what stands in their place
	le.PutUint16(b[6:], 1+logPage/fixupUnit)
	le.PutUint16(b[30:], 7)
	for end := fixupUnit; end <= logPage; end += fixupUnit {
		le.PutUint16(b[end-2:], 7)
	}
	le.PutUint16(b[areaAt:], 48)
	le.PutUint64(b[48:], number)
	le.PutUint16(b[60:], client)
	le.PutUint16(b[62:], flags)
	return b
}

// TestLog tells a volume that Windows was cut off from by the newer page of its log.
// SYSTEMS 5.8
func TestLog(t *testing.T) {
	image := bytes.Clone(imagetest.Image(t, "ntfs"))
	open := func() *volume {
		t.Helper()
		v, err := Open(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		return v.(*volume)
	}
	rec, err := open().record(recordLog)
	if err != nil {
		t.Fatal(err)
	}
	log, err := rec.stream(attrData, "")
	if err != nil || len(log.runs) == 0 {
		t.Fatalf("%+v, %v", log, err)
	}
	at := log.runs[0].place * open().cluster
	torn := restartPage(9, 0, 0)
	torn[fixupUnit-1]++
	for _, k := range []struct {
		name          string
		first, second []byte
		dirty         string
	}{
		{"shut down", restartPage(1, 0, logWasClean), restartPage(2, noClient, 0), ""},
		{"cut off", restartPage(1, noClient, 0), restartPage(2, 0, 0), cutShort},
		{"cut off before, then shut down", restartPage(3, 0, logWasClean), restartPage(2, 0, 0), ""},
		{"a torn page says nothing", restartPage(1, 0, logWasClean), torn, ""},
		{"wiped", bytes.Repeat([]byte{0xff}, logPage), bytes.Repeat([]byte{0xff}, logPage), ""},
	} {
		copy(image[at:], k.first)
		copy(image[at+logPage:], k.second)
		if got := open().Info().Dirty; got != k.dirty {
			t.Errorf("%s: %q, want %q", k.name, got, k.dirty)
		}
	}
}

func FuzzRestart(f *testing.F) {
	f.Add(restartPage(1, 0, 0))
	f.Add(restartPage(2, noClient, logWasClean))
	f.Fuzz(func(t *testing.T, b []byte) {
		page := make([]byte, logPage)
		copy(page, b)
		if number, _, ok := restart(page); !ok && number != 0 {
			t.Errorf("a page that is none has number %d", number)
		}
	})
}
