package filesystemtest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/imagetest"
)

// Open opens one of the images in testdata.
func Open(t *testing.T, open func(io.ReaderAt) (filesystem.Volume, error), name string) filesystem.Volume {
	t.Helper()
	v, err := open(bytes.NewReader(imagetest.Image(t, name)))
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	return v
}

// Files checks the files that make-testdata puts into every image.
func Files(t *testing.T, v filesystem.Volume) {
	t.Helper()
	tree := treeOf(t, v)
	var numbers strings.Builder
	for i := range 3000 {
		fmt.Fprintln(&numbers, i+1)
	}
	holes := make([]byte, 200<<10)
	copy(holes[150_000:], "here")
	for name, want := range map[string]string{
		"deep/er/numbers": numbers.String(), "/deep/../deep/./er/numbers": numbers.String(), "empty": "", "holes": string(holes),
		"usr/lib/os-release": "ID=test\nVERSION_ID=\"1\"\n", "many/name-number-60": "60\n",
	} {
		if b, err := tree.ReadFile(name, 1<<20); err != nil || string(b) != want {
			t.Errorf("%s has %d bytes, want %d (%v)", name, len(b), len(want), err)
		}
	}
	if names, err := tree.ReadDir("many"); err != nil || len(names) != 60 {
		t.Errorf("many has %d names, want 60 (%v)", len(names), err)
	}
	if _, err := tree.Open("deep/missing"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a missing file: %v, want not found", err)
	}
	if _, err := tree.Open("empty/below"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("below a file: %v, want not found", err)
	}
}

// Links checks the symbolic links that make-testdata puts in. SYSTEMS 5.10: one
// that would lead out leads to the image's own files, a ring ends.
func Links(t *testing.T, v filesystem.Volume) {
	t.Helper()
	tree := treeOf(t, v)
	for _, name := range []string{"etc/os-release", "absolute"} {
		if b, err := tree.ReadFile(name, 100); err != nil || !strings.HasPrefix(string(b), "ID=test") {
			t.Errorf("%s is %q (%v)", name, b, err)
		}
	}
	if _, err := tree.ReadFile("out", 100); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a link to ../../etc/shadow: %v, want not found", err)
	}
	if _, err := tree.Open("ring1"); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a ring of links: %v, want invalid", err)
	}
	n, err := tree.Lstat("long")
	if err != nil {
		t.Fatal(err)
	}
	if target, err := filesystem.Target(n); err != nil || strings.TrimSuffix(target, "/") != strings.TrimSuffix(strings.Repeat("a/", 60), "/") {
		t.Errorf("long leads to %q (%v)", target, err)
	}
}

func treeOf(t *testing.T, v filesystem.Volume) *filesystem.Tree {
	t.Helper()
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filesystem.NewTree(root, v.Info().FoldCase)
}
