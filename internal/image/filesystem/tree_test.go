package filesystem_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

type dir = filesystemtest.Dir

func TestTree(t *testing.T) {
	loop := dir{"a": "x"}
	loop["self"] = loop
	tree := filesystem.NewTree(filesystemtest.Memory{What: dir{
		"etc":  dir{"passwd": "root", "out": "-> ../../../../etc/passwd", "up": "-> /../etc/passwd"},
		"bin":  "-> usr/bin",
		"usr":  dir{},
		"ring": "-> ring",
		"bomb": "-> bomb/bomb/bomb",
		"loop": loop,
		"bad":  dir{"../escape": "x", "": "x", "a/b": "x", "ok": "x"},
	}}, false)
	tree.Mount("/usr", filesystemtest.Memory{What: dir{"bin": dir{"sh": "ELF"}, "lib": "-> /etc"}}, false)
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
	tree := filesystem.NewTree(filesystemtest.Memory{What: dir{"Windows": dir{"System32": dir{"NTOSKRNL.EXE": "MZ"}}}}, true)
	if b, err := tree.ReadFile("/windows/SYSTEM32/ntoskrnl.exe", 10); err != nil || string(b) != "MZ" {
		t.Errorf("it is %q (%v)", b, err)
	}
}

type endless struct{ filesystemtest.Memory }

func (endless) List(fn func(filesystem.Entry) error) error {
	for {
		if err := fn(filesystem.Entry{Name: "same", Open: func() (filesystem.Node, error) { return filesystemtest.Memory{What: "x"}, nil }}); err != nil {
			return err
		}
	}
}

func TestEndlessFolderEnds(t *testing.T) {
	if _, err := filesystem.NewTree(endless{filesystemtest.Memory{What: dir{}}}, false).ReadDir("/"); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}
