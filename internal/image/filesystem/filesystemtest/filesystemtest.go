// Package filesystemtest helps to test readers of filesystems: it compares a tree
// with a folder of this machine, and goes through whatever a fuzzer makes.
//
// It touches the folders that a test gives it.
package filesystemtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/imagetest"
)

const mostRead = 64 << 20

// Snapshot describes every file below a path of a tree: its type, and the sum of
// its content or its target.
func Snapshot(t *testing.T, tree *filesystem.Tree, from string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := tree.ReadDir(from)
	if err != nil {
		t.Fatalf("read folder %s: %v", from, err)
	}
	for _, name := range names {
		full := path.Join(from, name)
		n, err := tree.Lstat(full)
		if err != nil {
			t.Fatalf("look at %s: %v", full, err)
		}
		switch {
		case n.Stat().IsDir() && name == "lost+found":
		case n.Stat().IsDir():
			all[full] = "folder"
			for k, v := range Snapshot(t, tree, full) {
				all[k] = v
			}
		case n.Stat().Mode.IsRegular() || n.Stat().IsLink():
			b, err := filesystem.ReadAll(n, mostRead)
			if err != nil {
				t.Fatalf("read %s: %v", full, err)
			}
			all[full] = describe(n.Stat().IsLink(), b)
		}
	}
	return all
}

func describe(link bool, b []byte) string {
	if link {
		return "link to " + string(b)
	}
	return fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))
}

// Folder describes a folder of this machine as Snapshot does.
func Folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel := "/" + filepath.ToSlash(p[len(dir)+1:])
		switch {
		case d.IsDir() && d.Name() == "lost+found":
			return fs.SkipDir
		case d.IsDir():
			all[rel] = "folder"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			all[rel] = describe(true, []byte(target))
			return err
		default:
			b, err := os.ReadFile(p)
			all[rel] = describe(false, b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Same fails the test unless the volume has exactly what the folder has.
func Same(t *testing.T, v filesystem.Volume, dir string) {
	t.Helper()
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	got := Snapshot(t, filesystem.NewTree(root, v.Info().FoldCase), "/")
	if diff := cmp.Diff(Folder(t, dir), got); diff != "" {
		t.Errorf("the volume differs from the folder (-folder +volume):\n%s", diff)
	}
}

// Source makes a folder with what is hard to read: many names, long and short
// links, holes, empty, small and large files.
func Source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/os-release", []byte("ID=test\n"))
	write("empty", nil)
	write("small", []byte("x"))
	write("deep/er/and/deeper/file", bytes.Repeat([]byte("line\n"), 3000))
	write("large", Noise(3<<20))
	write("text", bytes.Repeat([]byte("the same words again and again, "), 40000))
	for i := range 400 {
		write(fmt.Sprintf("many/file-with-a-rather-long-name-%04d", i), []byte(fmt.Sprint(i)))
	}
	for name, target := range map[string]string{"short": "etc/os-release", "long": path.Join("a", path.Clean(string(bytes.Repeat([]byte("b/"), 100)))), "absolute": "/etc/os-release"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{100_000, 1_000_000, 2_500_000} {
		if _, err := f.WriteAt([]byte("here"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(4_000_000); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Noise is n bytes that do not compress, the same each time.
func Noise(n int) []byte {
	b := make([]byte, 0, n+sha256.Size)
	sum := sha256.Sum256(nil)
	for len(b) < n {
		sum = sha256.Sum256(sum[:])
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// Limits of Exercise, so that a fuzzer gets on.
const (
	fuzzBytes = 16 << 20
	fuzzNodes = 300
)

// Exercise opens a filesystem in b and goes through it as far as it can. It must
// neither fail otherwise than with an error, nor go on for ever.
func Exercise(b []byte, open func(io.ReaderAt) (filesystem.Volume, error)) {
	v, err := open(block.NewBudget(context.Background(), bytes.NewReader(b), fuzzBytes))
	if err != nil {
		return
	}
	v.Info()
	root, err := v.Root()
	if err != nil {
		return
	}
	left := fuzzNodes
	exercise(root, &left, 0)
	if s, ok := v.(filesystem.Subvolumes); ok {
		_, _ = s.Subvolume("a/b")
		_, _ = s.Subvolume("#257")
	}
}

// Fuzz damages images and goes through what a reader makes of them.
func Fuzz(f *testing.F, open func(io.ReaderAt) (filesystem.Volume, error), names ...string) {
	imagetest.Fuzz(f, func(b []byte) { Exercise(b, open) }, names...)
}

var errEnough = errors.New("enough")

const fuzzDepth = 8

func exercise(n filesystem.Node, left *int, depth int) {
	if *left--; *left < 0 || depth > fuzzDepth {
		return
	}
	s := n.Stat()
	if !s.IsDir() {
		_, _ = filesystem.ReadAll(n, 1<<20)
		_, _ = n.ReadAt(make([]byte, 10), s.Size-5)
		return
	}
	_ = n.List(func(e filesystem.Entry) error {
		if *left < 0 {
			return errEnough
		}
		if c, err := e.Open(); err == nil {
			exercise(c, left, depth+1)
		}
		return nil
	})
}
