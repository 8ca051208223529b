package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Guests of a root's host do not run as root, unless nobody else could reach
// their files: then it is said why.
func TestDefaultUser(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "host")
	open := func(mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(0o711)
	name, err := DefaultUser(dir)
	if os.Geteuid() != 0 {
		if name != "" || err != nil {
			t.Errorf("without root: %q, %v", name, err)
		}
		return
	}
	if err != nil || name != "droveway" && name != "nobody" {
		t.Errorf("%q, %v: want an unprivileged user", name, err)
	}
	open(0o700)
	if name, err = DefaultUser(dir); name != "" || err == nil || !strings.Contains(err.Error(), "may not pass through") {
		t.Errorf("%q, %v: want none, and why", name, err)
	}
}
