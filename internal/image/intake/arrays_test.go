package intake

import (
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// inArray is that Debian whose root is on a member of an array of MD over two disks.
func inArray(t *testing.T, level int, events uint64, role uint16) []byte {
	t.Helper()
	b := debian(t)
	imagetest.Half{Level: level, Events: events, Role: role}.RootInArray(b)
	return b
}

// aSpare is the role of a member without data.
const aSpare = 0xffff

// TestArrayOverDisks imports an OVA whose disks are one array: of a mirror the half that
// was written last is repaired, and the other is not, so that it is not taken for as
// current; what needs both disks is imported as it is, and a note says what could not be
// read. SYSTEMS 5.6
func TestArrayOverDisks(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, k := range map[string]struct {
		level    int
		first    uint64    // events of the first half; the second has 5
		role     uint16    // of the first half
		boot     [2]uint64 // events of the halves of the mirror with /boot; 0: it is on none
		repair   droveway.Repair
		repaired string   // the image that is; empty: none
		says     []string // in one note, or in the error
		fails    bool
	}{
		"mirror":           {level: 1, first: 5, repaired: "a-1", says: []string{"image a-2 is left as it is", "mirror of image a-1", "both have 5 events"}},
		"mirror, forced":   {level: 1, first: 5, repair: droveway.RepairForce, repaired: "a-1", says: []string{"mirror of image a-1"}},
		"first is older":   {level: 1, first: 3, repaired: "a-2", says: []string{"image a-1 is left as it is", "mirror of image a-2", "the older one, with 3 events, and image a-2 has 5"}},
		"second is older":  {level: 1, first: 9, repaired: "a-1", says: []string{"image a-2 is left as it is", "with 5 events, and image a-1 has 9"}},
		"first is a spare": {level: 1, first: 5, role: aSpare, repaired: "a-2", says: []string{"image a-1 is left as it is", "a spare"}},
		"/boot in step":    {level: 1, first: 3, boot: [2]uint64{7, 7}, repair: droveway.RepairForce, repaired: "a-2", says: []string{"image a-1 is left as it is", "with 3 events, and image a-2 has 5"}},
		"/boot opposed":    {level: 1, first: 3, boot: [2]uint64{7, 4}, repaired: "a-2", says: []string{"image a-1 is left as it is", "of the mirror with /boot it has the newer half"}},
		"not repaired":     {level: 1, first: 3, repair: droveway.RepairNone, says: []string{"image a-1 is left as it is", "to boot from"}},
		"stripes":          {level: 0, first: 5, says: []string{"image a-1, p3: a member of an MD array of level 0 over 2 disks"}},
		"stripes, forced":  {level: 0, first: 5, repair: droveway.RepairForce, says: []string{"a member of an MD array of level 0 over 2 disks"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			shop := w.furnish()
			one, two := inArray(t, k.level, k.first, k.role), inArray(t, k.level, 5, 1)
			if k.boot[0] > 0 {
				imagetest.Half{Level: 1, Events: k.boot[0]}.BootInArray(one)
				imagetest.Half{Level: 1, Events: k.boot[1], Role: 1}.BootInArray(two)
			}
			s := sourcetest.New(t, ovaOfBoth(t, one, two), sourcetest.Manners{})
			r := Request{Name: "a", Link: s.URL + "/m.ova", Repair: k.repair, Check: droveway.CheckNone}
			p, err := w.Plan(t.Context(), r)
			must(t, err)
			for _, i := range p.Images {
				if i.Repair != (i.Name == k.repaired) {
					t.Errorf("planned for image %s: repair %t, want that of %q", i.Name, i.Repair, k.repaired)
				}
			}
			says := func(text string) bool {
				return !slices.ContainsFunc(k.says, func(w string) bool { return !strings.Contains(text, w) })
			}
			j := w.begin(t, r).do(t, t.Context())
			if k.fails {
				if j.State != droveway.JobFailed || !says(j.Error) {
					t.Errorf("the job %s: %s", j.State, j.Error)
				}
				w.wantNothing(t)
				return
			}
			if notes := result(t, j).Notes; !slices.ContainsFunc(notes, says) || k.level == 1 && !slices.ContainsFunc(p.Notes, says) {
				t.Errorf("notes %q, planned %q", notes, p.Notes)
			}
			for _, name := range []string{"a-1", "a-2"} {
				if img := w.wantImage(t, name, nil); (len(img.Changes) > 0) != (name == k.repaired) {
					t.Errorf("image %s: changes %+v", name, img.Changes)
				}
			}
			if shop.repaired > 1 {
				t.Errorf("%d repairs", shop.repaired)
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
