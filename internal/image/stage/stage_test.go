package stage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/droveway/droveway"
)

const id = "transfer1"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path, slog.New(slog.DiscardHandler))
	must(t, err)
	return d
}

func open(t *testing.T, d *Dir) *File {
	t.Helper()
	f, err := d.Open(id)
	must(t, err)
	return f
}

// contents is 3 MiB with a hole at the end.
func contents() []byte {
	b := make([]byte, 3<<20)
	copy(b, "start")
	copy(b[1<<20:], bytes.Repeat([]byte("text"), 1000))
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut") }

// TestGoOn cuts a transfer, and goes on after a restart.
func TestGoOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stage")
	want := contents()
	f := open(t, openDir(t, path))
	must(t, f.Remember(About{Link: "https://a/b", Tag: `"x"`, Size: int64(len(want))}))
	err := f.Append(t.Context(), io.MultiReader(bytes.NewReader(want[:1_500_000]), broken{}), nil)
	if !droveway.Is(err, droveway.Unavailable) || f.Whole() {
		t.Fatalf("cut: %v, whole: %t", err, f.Whole())
	}
	must(t, f.Close())

	f = open(t, openDir(t, path)) // a restart
	defer f.Close()
	if f.Offset() != 1_500_000 || f.About().Link != "https://a/b" || f.About().Tag != `"x"` {
		t.Fatalf("after a restart: %d bytes of %+v", f.Offset(), f.About())
	}
	var done int64
	must(t, f.Append(t.Context(), bytes.NewReader(want[f.Offset():]), func(n int64) { done = n }))
	got, err := os.ReadFile(f.Path())
	if err != nil || !bytes.Equal(got, want) || f.SHA256() != sum(want) || !f.Whole() || done != int64(len(want)) {
		t.Errorf("%d bytes differ, checksum %s, whole %t, told %d (%v)", len(got), f.SHA256(), f.Whole(), done, err)
	}
}

// TestKilled leaves a file behind as a kill, or a power cut, would: bytes beyond
// the checkpoint, or fewer, or a record that is damaged.
func TestKilled(t *testing.T) {
	t.Parallel()
	want := contents()
	for name, c := range map[string]struct {
		damage func(path string) error
		offset int64
	}{
		"bytes beyond": {func(p string) error { return os.WriteFile(p, append(bytes.Clone(want[:1000]), "junk"...), 0o600) }, 1000},
		"bytes lost":   {func(p string) error { return os.Truncate(p, 10) }, 0},
		"no record":    {func(p string) error { return os.Remove(p + recordSuffix) }, 0},
		"torn record":  {func(p string) error { return os.Truncate(p+recordSuffix, 20) }, 0},
		"odd checksum": {func(p string) error {
			return os.WriteFile(p+recordSuffix, []byte(`{"offset":1000,"hash":"AAAA"}`), 0o600)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			f := open(t, openDir(t, path))
			_ = f.Append(t.Context(), io.MultiReader(bytes.NewReader(want[:1000]), broken{}), nil)
			must(t, f.Close())
			must(t, c.damage(filepath.Join(path, id)))
			f = open(t, openDir(t, path))
			defer f.Close()
			if f.Offset() != c.offset {
				t.Errorf("it goes on at %d, want %d", f.Offset(), c.offset)
			}
			must(t, f.Append(t.Context(), bytes.NewReader(want[f.Offset():]), nil))
			if got, err := os.ReadFile(f.Path()); err != nil || !bytes.Equal(got, want) || f.SHA256() != sum(want) {
				t.Errorf("%d bytes differ (%v)", len(got), err)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	d := openDir(t, filepath.Join(t.TempDir(), "data [1]")) // which means something else to a pattern
	f := open(t, d)
	if _, err := d.Open(id); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("open twice: %v", err)
	}
	if err := d.Remove(id); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("removed while open: %v", err)
	}
	must(t, f.Remember(About{Size: 5}))
	if err := f.Append(t.Context(), strings.NewReader("too long"), nil); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("too long: %v", err)
	}
	must(t, f.Reset())
	must(t, f.Remember(About{Size: 5}))
	if err := f.Append(t.Context(), strings.NewReader("cut"), nil); !droveway.Is(err, droveway.Unavailable) || f.Whole() {
		t.Errorf("too short: %v", err)
	}
	refused := iotest.ErrReader(droveway.Errorf(droveway.Permission, "not for you"))
	if err := f.Append(t.Context(), refused, nil); !droveway.Is(err, droveway.Permission) || !strings.Contains(err.Error(), "not for you") {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(droveway.Errorf(droveway.Conflict, "it was cancelled"))
	if err := f.Append(ctx, strings.NewReader("x"), nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("stopped: %v", err)
	}
	must(t, f.Close())
	must(t, os.WriteFile(d.Beside(id, "made"), nil, 0o600))
	must(t, os.WriteFile(d.Beside(id+"2", "made"), nil, 0o600))
	must(t, d.Remove(id))
	if d.Has(id) {
		t.Error("still there")
	}
	if _, err := os.Stat(d.Beside(id, "made")); err == nil {
		t.Error("what was made of it is still there")
	}
	if _, err := os.Stat(d.Beside(id+"2", "made")); err != nil {
		t.Errorf("what was made of another: %v", err)
	}
	for _, bad := range []string{"", "short", "../../../etc/shadow", "UPPERCASE", strings.Repeat("a", 65)} {
		if _, err := d.Open(bad); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
		if d.Has(bad) {
			t.Errorf("there is a %q", bad)
		}
	}
}

// TestOld removes what was left alone for long, and keeps the rest: what somebody
// has open, what is to be spared, and what was fetched long ago but looked at of late.
func TestOld(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := openDir(t, path)
	old := time.Now().Add(-Keep - time.Hour)
	for _, name := range []string{"longforgotten", "freshenough", "nowopened", "ofarunningjob", "freshrecord"} {
		f, err := d.Open(name)
		must(t, err)
		must(t, f.Append(t.Context(), strings.NewReader("x"), nil))
		must(t, f.Close())
		if name != "freshenough" {
			must(t, os.Chtimes(filepath.Join(path, name), old, old))
		}
		if name != "freshrecord" {
			must(t, os.Chtimes(filepath.Join(path, name+recordSuffix), old, old))
		}
	}
	for _, name := range []string{"longforgotten" + newRecord, "longforgotten" + newFile, "halfmade" + newFile} {
		must(t, os.WriteFile(filepath.Join(path, name), nil, 0o600))
		must(t, os.Chtimes(filepath.Join(path, name), old, old))
	}
	f, err := d.Open("nowopened")
	must(t, err)
	defer f.Close()
	must(t, os.Chtimes(filepath.Join(path, "nowopened"), old, old))
	must(t, d.Sweep(map[string]bool{"ofarunningjob": true}))
	entries, err := os.ReadDir(path)
	must(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{"freshenough", "freshenough.json", "freshrecord", "freshrecord.json", "nowopened", "nowopened.json", "ofarunningjob", "ofarunningjob.json"}
	if !slices.Equal(left, want) {
		t.Errorf("left are %q", left)
	}
}

// TestLinked has an image made of a whole file, under a second name: nothing that
// happens to the first one changes it.
func TestLinked(t *testing.T) {
	t.Parallel()
	want := contents()
	for name, spoil := range map[string]func(t *testing.T, d *Dir, path string){
		"reset": func(t *testing.T, d *Dir, _ string) {
			f := open(t, d)
			must(t, f.Reset())
			must(t, f.Append(t.Context(), strings.NewReader("another"), nil))
			must(t, f.Close())
		},
		"record is gone": func(t *testing.T, d *Dir, path string) {
			must(t, os.Remove(path+recordSuffix))
			must(t, open(t, d).Close())
		},
		"record of before": func(t *testing.T, d *Dir, path string) {
			b, err := os.ReadFile(path + recordSuffix)
			must(t, err)
			b = bytes.Replace(b, []byte(`"offset":3145728`), []byte(`"offset":1000`), 1)
			must(t, os.WriteFile(path+recordSuffix, b, 0o600))
			f := open(t, d)
			if f.Offset() != 0 || f.Whole() {
				t.Errorf("%d bytes, whole: %t", f.Offset(), f.Whole())
			}
			must(t, f.Close())
		},
		"more": func(t *testing.T, d *Dir, _ string) {
			f := open(t, d)
			if err := f.Append(t.Context(), strings.NewReader("more"), nil); !droveway.Is(err, droveway.Invalid) {
				t.Errorf("more after the end: %v", err)
			}
			must(t, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			d := openDir(t, path)
			f := open(t, d)
			must(t, f.Append(t.Context(), bytes.NewReader(want), nil))
			must(t, f.Close())
			image := filepath.Join(path, "image")
			must(t, os.Link(f.Path(), image))
			spoil(t, d, f.Path())
			if got, err := os.ReadFile(image); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the image has %d bytes of %d (%v)", len(got), len(want), err)
			}
		})
	}
}

// TestEndless has a stream that does not end.
func TestEndless(t *testing.T) {
	t.Parallel()
	f := open(t, openDir(t, t.TempDir()))
	defer f.Close()
	if f.most != 64<<40 {
		t.Errorf("%d bytes are taken", f.most)
	}
	f.most = 3 << 20
	if err := f.Append(t.Context(), zeros{}, nil); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "no image has so many") || f.Whole() {
		t.Errorf("%v, whole: %t", err, f.Whole())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestAllButTheEnd breaks off when all is here that was to come.
func TestAllButTheEnd(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir())
	f := open(t, d)
	must(t, f.Remember(About{Size: 5}))
	if err := f.Append(t.Context(), io.MultiReader(strings.NewReader("12345"), broken{}), nil); !droveway.Is(err, droveway.Unavailable) || !f.Whole() {
		t.Errorf("%v, whole: %t", err, f.Whole())
	}
	must(t, f.Close())
	f = open(t, d)
	defer f.Close()
	if !f.Whole() || f.SHA256() != sum([]byte("12345")) {
		t.Errorf("after a restart: whole: %t", f.Whole())
	}
	if err := f.Append(t.Context(), strings.NewReader("6"), nil); !droveway.Is(err, droveway.Invalid) || f.Whole() {
		t.Errorf("longer than was said: %v, whole: %t", err, f.Whole())
	}
}
