package intake

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/luks/lukstest"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

const passphrase = "correct horse battery"

// locked is that Debian with an encrypted root. What the header needs is taken from the
// end of the root, where nothing is.
func locked(t *testing.T) []byte {
	t.Helper()
	const start, end, header = 8192 * 512, 12288 * 512, 32 << 10
	b := debian(t)
	imagetest.Shorten(b[start:], end-start-header)
	copy(b[start:end], lukstest.V2(passphrase, b[start:end-header]))
	return b
}

func key(t *testing.T, text string) []luks.Key {
	t.Helper()
	k, err := luks.NewKey("root.key", "", []byte(text))
	must(t, err)
	return []luks.Key{k}
}

// wantNoKey looks for the passphrase in what is said and in what is written.
func (w *world) wantNoKey(t *testing.T, said ...any) {
	t.Helper()
	b, err := json.Marshal(said)
	must(t, err)
	if bytes.Contains(b, []byte(passphrase)) {
		t.Errorf("the key is shown: %s", b)
	}
	must(t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(passphrase)) {
			t.Errorf("the key is in %s", path)
		}
		return err
	}))
	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	if len(w.keys.keys) > 0 {
		t.Errorf("%d keys are kept", len(w.keys.keys))
	}
}

// TestKeys gives an encrypted disk's key to its repair, and to nobody else. SYSTEMS 5.6
func TestKeys(t *testing.T) {
	js := startStore(t)
	s := sourcetest.New(t, locked(t), sourcetest.Manners{})
	for name, k := range map[string]struct {
		keys   []luks.Key
		repair droveway.Repair
		fails  error
		error  string // of the job; empty: it succeeds
		given  int    // keys that the repair gets
	}{
		"the key":          {keys: key(t, passphrase), given: 1},
		"a repair fails":   {keys: key(t, passphrase), fails: droveway.Errorf(droveway.Invalid, "it is broken"), error: "it is broken", given: 1},
		"another key":      {keys: key(t, "wrong"), error: "key root.key opens nothing"},
		"none":             {},
		"none, but forced": {repair: droveway.RepairForce, error: "--luks-key FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, js)
			shop := w.furnish()
			shop.fails = k.fails
			b := w.begin(t, Request{Name: "a", Link: s.URL, Keys: k.keys, Repair: k.repair, Check: droveway.CheckNone})
			j := b.do(t, t.Context())
			if (j.State == droveway.JobSucceeded) != (k.error == "") || !strings.Contains(j.Error, k.error) || shop.keys != k.given {
				t.Errorf("the job %s: %s; the repair had %d keys", j.State, j.Error, shop.keys)
			}
			images, err := w.cfg.Fleet.Images.List(t.Context())
			must(t, err)
			w.wantNoKey(t, b.args, j, images)
			if k.error != "" {
				w.wantNothing(t)
			}
		})
	}
}

// TestKeysGone asks again for keys that were in the memory of a server that is gone.
func TestKeysGone(t *testing.T) {
	w := newWorld(t, startStore(t))
	w.furnish()
	s := sourcetest.New(t, locked(t), sourcetest.Manners{})
	b := w.begin(t, Request{Name: "a", Link: s.URL, Keys: key(t, passphrase)})
	w.keys.forget(b.Stage)
	j := b.do(t, t.Context())
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, "import it again, with --luks-key") {
		t.Errorf("the job %s: %s", j.State, j.Error)
	}
	w.wantNothing(t)
}
