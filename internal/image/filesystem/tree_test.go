package filesystem_test

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
)

// memory is a filesystem of maps: a string is a file, "-> x" a link.
type memory struct{ what any }

func (m memory) Stat() filesystem.Stat {
	switch w := m.what.(type) {
	case map[string]any:
		return filesystem.Stat{Mode: fs.ModeDir}
	case string:
		if target, ok := strings.CutPrefix(w, "-> "); ok {
			return filesystem.Stat{Mode: fs.ModeSymlink, Size: int64(len(target))}
		}
		return filesystem.Stat{Size: int64(len(w))}
	}
	return filesystem.Stat{}
}

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	w, ok := m.what.(string)
	if !ok {
		return 0, io.EOF
	}
	return strings.NewReader(strings.TrimPrefix(w, "-> ")).ReadAt(p, off)
}

func (m memory) List(fn func(filesystem.Entry) error) error {
	dir, ok := m.what.(map[string]any)
	if !ok {
		return errors.New("not a folder")
	}
	for _, name := range slices.Sorted(maps.Keys(dir)) {
		if err := fn(filesystem.Entry{Name: name, Open: func() (filesystem.Node, error) { return memory{dir[name]}, nil }}); err != nil {
			return err
		}
	}
	return nil
}

type dir = map[string]any

func TestTree(t *testing.T) {
	loop := dir{"a": "x"}
	loop["self"] = loop
	tree := filesystem.NewTree(memory{dir{
		"etc":  dir{"passwd": "root", "out": "-> ../../../../etc/passwd", "up": "-> /../etc/passwd"},
		"bin":  "-> usr/bin",
		"usr":  dir{},
		"ring": "-> ring",
		"bomb": "-> bomb/bomb/bomb",
		"loop": loop,
		"bad":  dir{"../escape": "x", "": "x", "a/b": "x", "ok": "x"},
	}}, false)
	tree.Mount("/usr", memory{dir{"bin": dir{"sh": "ELF"}, "lib": "-> /etc"}}, false)
	for name, want := range map[string]string{
		"/bin/sh": "ELF", "usr/lib/passwd": "root", "etc/out": "root", "etc/up": "root", "/../../etc/passwd": "root", "loop/self/self/a": "x", "bin/../lib/passwd": "root",
	} {
		if b, err := tree.ReadFile(name, 100); err != nil || string(b) != want {
			t.Errorf("%s is %q (%v), want %q", name, b, err, want)
		}
	}
	for name, want := range map[string]droveway.Kind{
		"ring": droveway.Invalid, "bomb": droveway.Invalid, "etc": droveway.Invalid, "no": droveway.NotFound, "etc/passwd/x": droveway.NotFound,
		"loop" + strings.Repeat("/self", 200): droveway.Invalid,
	} {
		if _, err := tree.ReadFile(name, 100); !droveway.Is(err, want) {
			t.Errorf("%.20s: %v, want %s", name, err, want)
		}
	}
	names, err := tree.ReadDir("bad")
	if diff := cmp.Diff([]string{"ok"}, names); err != nil || diff != "" {
		t.Errorf("names that are none were taken (%v):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"/etc/passwd"}, tree.Glob("/e*/pass*")); diff != "" {
		t.Error(diff)
	}
}

func TestFoldCase(t *testing.T) {
	tree := filesystem.NewTree(memory{dir{"Windows": dir{"System32": dir{"NTOSKRNL.EXE": "MZ"}}}}, true)
	if b, err := tree.ReadFile("/windows/SYSTEM32/ntoskrnl.exe", 10); err != nil || string(b) != "MZ" {
		t.Errorf("it is %q (%v)", b, err)
	}
}

type endless struct{ memory }

func (endless) List(fn func(filesystem.Entry) error) error {
	for {
		if err := fn(filesystem.Entry{Name: "same", Open: func() (filesystem.Node, error) { return memory{"x"}, nil }}); err != nil {
			return err
		}
	}
}

func TestEndlessFolderEnds(t *testing.T) {
	if _, err := filesystem.NewTree(endless{memory{dir{}}}, false).ReadDir("/"); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}
