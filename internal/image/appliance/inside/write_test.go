package inside

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/initramfs"
	"github.com/droveway/droveway/internal/image/repair"
)

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func put(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// written are the changes that are told.
func written(t *testing.T, files ...repair.File) ([]wire.Change, error) {
	t.Helper()
	var all []wire.Change
	w := writer{step: "step", changed: func(c wire.Change) { all = append(all, c) }}
	for _, f := range files {
		if err := w.write(f); err != nil {
			return all, err
		}
	}
	return all, nil
}

// TestWrite keeps the original, its mode, and nothing else. SYSTEMS 5.6
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := put(t, filepath.Join(dir, "fstab"), "old", 0o640)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("fstab", link); err != nil {
		t.Fatal(err)
	}
	got, err := written(t, repair.File{Path: link, Was: sum("old"), Text: "new"}, repair.File{Path: file, Was: sum("new"), Text: "newer"})
	want := []wire.Change{
		{Step: "step", Path: link, Before: sum("old"), After: sum("new"), Backup: file + repair.Beside},
		{Step: "step", Path: file, Before: sum("new"), After: sum("newer"), Backup: file + repair.Beside},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if a, b := get(t, file), get(t, file+repair.Beside); a != "newer" || b != "old" {
		t.Errorf("it is %q, what is kept is %q", a, b)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 3 {
		t.Errorf("%v is there (%v)", all, err)
	}
}

// TestNew makes files and links that there were not, with their directories.
func TestNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, unit := filepath.Join(dir, "a/b/file"), filepath.Join(dir, "system/x.service")
	from := put(t, filepath.Join(dir, "from"), "loader", 0o600)
	got, err := written(t, repair.File{Path: file, Text: "new"}, repair.File{Path: unit, Link: "/dev/null"}, repair.File{Path: filepath.Join(dir, "c/copy"), From: from})
	want := []wire.Change{
		{Step: "step", Path: file, After: sum("new")},
		{Step: "step", Path: unit, After: "/dev/null"},
		{Step: "step", Path: filepath.Join(dir, "c/copy"), After: sum("loader")},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if to, err := os.Readlink(unit); err != nil || to != "/dev/null" {
		t.Errorf("the unit leads to %q (%v)", to, err)
	}
}

// TestRefused leaves a file that the plan does not know.
func TestRefused(t *testing.T) {
	t.Parallel()
	file := put(t, filepath.Join(t.TempDir(), "fstab"), "another", 0o600)
	for name, f := range map[string]repair.File{
		"changed since":    {Path: file, Was: sum("old"), Text: "new"},
		"there, after all": {Path: file, Text: "new"},
	} {
		if got, err := written(t, f); !droveway.Is(err, droveway.Conflict) || len(got) > 0 || get(t, file) != "another" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if all, err := os.ReadDir(filepath.Dir(file)); err != nil || len(all) != 1 {
		t.Errorf("%v is there (%v)", all, err)
	}
}

// TestExtend appends an archive that the kernel finds behind any length.
func TestExtend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	module := put(t, filepath.Join(dir, "usr/lib/modules/1/virtio_blk.ko"), "module", 0o644)
	for length := range 5 {
		var old bytes.Buffer
		w := initramfs.NewWriter(&old)
		w.File("conf/initramfs.conf", 0o644, []byte(strings.Repeat("x", length)))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := put(t, filepath.Join(dir, fmt.Sprint("initrd", length)), old.String(), 0o600)
		if _, err := written(t, repair.File{Path: file, Append: []string{module}}); err != nil {
			t.Fatal(err)
		}
		text := get(t, file)
		at := strings.LastIndex(text, "0707010000")
		if !strings.HasPrefix(text, old.String()) || at%4 != 0 {
			t.Errorf("length %d: the archive is at %d", length, at)
		}
		s, err := initramfs.Read(strings.NewReader(text), nil)
		if err != nil || !s.Modules["virtio_blk"] || s.Kind != "initramfs-tools" {
			t.Errorf("length %d: %+v, %v", length, s, err)
		}
	}
	var b bytes.Buffer
	if err := archive(&b, []string{module}); err != nil || bytes.Contains(b.Bytes(), []byte("\x00lib\x00")) {
		t.Errorf("/lib is made a directory, or %v", err)
	}
}

// TestPrograms tells what programs of the guest change, and keeps nothing else.
func TestPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, same := put(t, filepath.Join(dir, "grub.cfg"), "old", 0o600), put(t, filepath.Join(dir, "same"), "same", 0o600)
	fresh := filepath.Join(dir, "initrd")
	var got []wire.Change
	w := writer{step: "step", changed: func(c wire.Change) { got = append(got, c) }}
	all, err := w.keepAll([]string{config, same, fresh})
	if err != nil {
		t.Fatal(err)
	}
	if said, err := program([]string{"sh", "-c", "echo new >" + config + "; echo x >" + fresh + "; echo done"}); err != nil || said != "done\n" {
		t.Fatalf("%q, %v", said, err)
	}
	if err := w.compare(all); err != nil {
		t.Fatal(err)
	}
	want := []wire.Change{
		{Step: "step", Path: config, Before: sum("old"), After: sum("new\n"), Backup: config + repair.Beside},
		{Step: "step", Path: fresh, After: sum("x\n")},
	}
	if diff := cmp.Diff(want, got); diff != "" || get(t, config+repair.Beside) != "old" {
		t.Error(diff)
	}
	if _, err := os.Stat(same + repair.Beside); err == nil {
		t.Error("a copy of what did not change is left")
	}
	said, err := program([]string{"sh", "-c", "seq 100000; echo the reason >&2; exit 3"})
	if !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "the reason") || len(said) > wire.MaxWords {
		t.Errorf("%d bytes, %v", len(said), err)
	}
}
