package appliance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// TestClosure takes a program away from its system, and it runs.
func TestClosure(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("ls")
	if err != nil {
		t.Fatal(err)
	}
	files, err := closure(program)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files["ls"] = program
	for name, from := range files {
		b, err := readable(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	out, err := exec.Command(at(wire.NTFSLoader), "--inhibit-cache", "--library-path", dir, at("ls"), dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "libc.so") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = exec.Command(at(wire.NTFSLoader), "--inhibit-cache", "--library-path", dir, "--list", at("ls")).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "=>") && !strings.Contains(line, "=> "+dir) && !strings.Contains(line, "ld-linux") {
			t.Errorf("from elsewhere: %s", line)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestNoNTFS says what to install.
func TestNoNTFS(t *testing.T) {
	t.Parallel()
	_, err := New(Config{NTFS: "/no/such/ntfs-3g"}).bundle()
	if !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "install the package ntfs-3g") {
		t.Error(err)
	}
	if _, err := closure(filepath.Join("testdata", "none")); !droveway.Is(err, droveway.Unsupported) {
		t.Error(err)
	}
}
