package convert

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
)

// begin converts up to a place, and gives the file.
func begin(t *testing.T, disk *format.Image, until int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "made.qcow2"))
	must(t, err)
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = goOn(ctx, f, &keeper{of: "this"}, disk, func(done int64) {
		if done >= until {
			cancel()
		}
	})
	if !droveway.Is(err, droveway.Unavailable) {
		t.Fatalf("%v, want that it was stopped", err)
	}
	return f.Name()
}

// TestGoOn goes on with what was begun, or begins anew if it cannot tell. SYSTEMS 5.8.
func TestGoOn(t *testing.T) {
	t.Parallel()
	raw, src := source(t, 4*reach+3<<20+512), filepath.Join(t.TempDir(), "source.qcow2")
	tool(t, "convert", "-f", "raw", "-O", "qcow2", raw, src)
	nothing := func(*testing.T, string) {}
	for name, c := range map[string]struct {
		of     string
		damage func(t *testing.T, path string)
		goesOn bool
	}{
		"as it was": {"this", nothing, true},
		"junk beyond": {"this", func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			_, err = f.Write(make([]byte, 3*cluster+7))
			must(t, err)
			must(t, f.Close())
		}, true},
		"another":     {"that", nothing, false},
		"no record":   {"this", func(t *testing.T, path string) { must(t, os.Remove(path+recordSuffix)) }, false},
		"torn record": {"this", func(t *testing.T, path string) { must(t, os.Truncate(path+recordSuffix, 30)) }, false},
		"absurd record": {"this", func(t *testing.T, path string) {
			must(t, os.WriteFile(path+recordSuffix, []byte(`{"of":"this","at":-2097152,"next":1}`), 0o600))
		}, false},
		"bytes lost": {"this", func(t *testing.T, path string) { must(t, os.Truncate(path, cluster)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, err := format.Open(src)
			must(t, err)
			defer disk.Close()
			path := begin(t, disk, 3*reach)
			c.damage(t, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			first := int64(-1)
			must(t, GoOn(t.Context(), f, c.of, disk, func(done int64) {
				if first < 0 {
					first = done
				}
			}))
			if goesOn := first > reach; goesOn != c.goesOn {
				t.Errorf("it began at %d of %d", first, disk.Size)
			}
			tool(t, "check", "-f", "qcow2", path)
			tool(t, "compare", "-f", "raw", "-F", "qcow2", raw, path)
		})
	}
}

// TestGoOnAgain stops a conversion again and again: it comes to its end, and is as one
// that was never stopped.
func TestGoOnAgain(t *testing.T) {
	t.Parallel()
	raw, src := source(t, 6*reach), filepath.Join(t.TempDir(), "source.vhdx")
	tool(t, "convert", "-f", "raw", "-O", "vhdx", raw, src)
	disk, err := format.Open(src)
	must(t, err)
	defer disk.Close()
	path := begin(t, disk, reach+1)
	for n := 2; ; n++ {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		err = goOn(ctx, f, &keeper{of: "this"}, disk, func(done int64) {
			if done >= int64(n)*reach && done < disk.Size {
				cancel()
			}
		})
		cancel()
		must(t, f.Close())
		if err == nil {
			break
		}
		if !droveway.Is(err, droveway.Unavailable) || n > 10 {
			t.Fatal(err)
		}
	}
	tool(t, "check", "-f", "qcow2", path)
	tool(t, "compare", "-f", "raw", "-F", "qcow2", raw, path)
	again, err := os.ReadFile(path)
	must(t, err)
	once, err := os.ReadFile(convert(t, src))
	must(t, err)
	if string(once) != string(again) {
		t.Errorf("%d bytes, and %d in one go", len(again), len(once))
	}
}
