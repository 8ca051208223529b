package intake

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// inArray is that Debian whose root is on a member of an array of MD over two disks, with
// a superblock of version 1.0: at the end, where nothing is.
func inArray(t *testing.T, level int) []byte {
	t.Helper()
	const start, end, sector = 8192 * 512, 12288 * 512, 512
	const at = (end - start) - 16*sector
	b := debian(t)
	s, le := b[start+at:start+at+4096], binary.LittleEndian
	le.PutUint32(s, 0xa92b4efc)
	le.PutUint32(s[4:], 1)
	copy(s[16:], "array identifier")
	copy(s[32:], "web:0")
	le.PutUint32(s[72:], uint32(level))
	le.PutUint64(s[80:], at/sector)
	le.PutUint32(s[88:], 8)
	le.PutUint32(s[92:], 2)
	le.PutUint64(s[144:], at/sector)
	return b
}

// TestArrayOverDisks imports an OVA whose disks are one array: of a mirror one half is
// repaired, so that the other is not taken for as current; what needs both disks is
// imported as it is, and a note says what could not be read. SYSTEMS 5.6
func TestArrayOverDisks(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, k := range map[string]struct {
		level   int
		repair  droveway.Repair
		repairs int
		says    string // in a note, or in the error
		fails   bool
	}{
		"mirror":          {level: 1, repairs: 1, says: "other half of a mirror of image a-1"},
		"mirror, forced":  {level: 1, repair: droveway.RepairForce, repairs: 1, says: "other half of a mirror of image a-1"},
		"stripes":         {level: 0, says: "image a-1, p3: a member of an MD array of level 0 over 2 disks"},
		"stripes, forced": {level: 0, repair: droveway.RepairForce, says: "a member of an MD array of level 0 over 2 disks", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			shop := w.furnish()
			s := sourcetest.New(t, ovaOf(t, inArray(t, k.level)), sourcetest.Manners{})
			r := Request{Name: "a", Link: s.URL + "/m.ova", Repair: k.repair, Check: droveway.CheckNone}
			p, err := w.Plan(t.Context(), r)
			must(t, err)
			planned := 0
			for _, i := range p.Images {
				if i.Repair {
					planned++
				}
			}
			j := w.begin(t, r).do(t, t.Context())
			if shop.repaired != k.repairs || planned != k.repairs {
				t.Errorf("%d of the images were repaired, %d planned, want %d", shop.repaired, planned, k.repairs)
			}
			if k.fails {
				if j.State != droveway.JobFailed || !strings.Contains(j.Error, k.says) {
					t.Errorf("the job %s: %s", j.State, j.Error)
				}
				w.wantNothing(t)
				return
			}
			if notes := result(t, j).Notes; !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, k.says) }) {
				t.Errorf("notes %q", notes)
			}
			if img := w.wantImage(t, "a-2", nil); len(img.Changes) > 0 {
				t.Errorf("the second image was changed: %+v", img.Changes)
			}
		})
	}
}

// TestKeysOfSeveral gives a key for an OVA of two disks: that it opens nothing on any of
// them is said, with what each has. SYSTEMS 5.6
func TestKeysOfSeveral(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	s := sourcetest.New(t, ovaOf(t, locked(t)), sourcetest.Manners{})
	for passphrase, says := range map[string]string{passphrase: "", "wrong": "key root.key opens nothing: disk 1, "} {
		w := newWorld(t, js)
		w.furnish()
		r := Request{Name: "a", Link: s.URL + "/m.ova", Keys: key(t, passphrase), Check: droveway.CheckNone}
		if _, err := w.Plan(t.Context(), r); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("with key %q planned: %v", passphrase, err)
		}
		j := w.begin(t, r).do(t, t.Context())
		if (j.State == droveway.JobSucceeded) != (says == "") || !strings.Contains(j.Error, says) {
			t.Errorf("with key %q the job %s: %s", passphrase, j.State, j.Error)
		}
	}
}
