// Package disktest makes disks with the programs that systems are installed with, so
// that what reads and changes disks is tested with others' work.
//
// It runs programs as root, attaches loop devices and mounts file systems, and undoes
// that when the test ends.
package disktest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tool runs a program, and gives what it printed. One that fails ends the test.
func Tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Tree fills a folder with files; what begins with "-> " is a link.
func Tree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target, ok := strings.CutPrefix(text, "-> "); ok && err == nil {
			err = os.Symlink(target, p)
		} else if err == nil {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Loop shows a file as a block device until the test ends.
func Loop(t testing.TB, file string) (dev string) {
	t.Helper()
	dev, detach := attach(t, file)
	t.Cleanup(detach)
	return dev
}

// Part shows a part of a file as a block device until the test ends. Where it is and
// its size are MiB.
func Part(t testing.TB, file string, at, size int) (dev string) {
	t.Helper()
	dev, detach := attach(t, file, part(at, size)...)
	t.Cleanup(detach)
	return dev
}

// WithPart shows a part of a file as a block device while do runs.
func WithPart(t testing.TB, file string, at, size int, do func(dev string)) {
	t.Helper()
	dev, detach := attach(t, file, part(at, size)...)
	defer detach()
	do(dev)
}

func part(at, size int) []string {
	return []string{"-o", fmt.Sprint(at << 20), "--sizelimit", fmt.Sprint(size << 20)}
}

func attach(t testing.TB, file string, options ...string) (dev string, detach func()) {
	t.Helper()
	dev = strings.TrimSpace(Tool(t, "losetup", append(append([]string{"-f", "--show"}, options...), file)...))
	return dev, func() { Tool(t, "losetup", "-d", dev) }
}

// Mounted has a file system mounted while do runs. One in a file wants the option loop.
func Mounted(t testing.TB, dev, options string, do func(at string)) {
	t.Helper()
	at := t.TempDir()
	Tool(t, "mount", "-o", options, dev, at)
	defer Tool(t, "umount", at)
	do(at)
}
