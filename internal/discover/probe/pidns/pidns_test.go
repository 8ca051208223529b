package pidns

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One's own namespace is told without privileges.
func TestOwn(t *testing.T) {
	t.Parallel()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		t.Fatal(err)
	}
	got, err := Of("/proc")
	if err != nil || got.Inode != st.Ino || got.Device == 0 || got.Initial() != (st.Ino == initial) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Where the caller has more than one number, or none, the file system is not of
// its namespace.
func TestOther(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"Name:\ta\nNSpid:\t27454\t2\n", ""} {
		proc := t.TempDir()
		for _, dir := range []string{"self/ns", "1/ns"} {
			if err := os.MkdirAll(filepath.Join(proc, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(proc, "self/status"), status)
		write(t, filepath.Join(proc, "self/ns/pid"), "")
		if _, err := Of(proc); !droveway.Is(err, droveway.Unsupported) {
			t.Errorf("%q: %v", status, err)
		}
		write(t, filepath.Join(proc, "1/ns/pid"), "")
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(proc, "1/ns/pid"), &st); err != nil {
			t.Fatal(err)
		}
		if got, err := Of(proc); err != nil || got.Inode != st.Ino {
			t.Errorf("%q: %+v, %v", status, got, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzDepth(f *testing.F) {
	f.Add([]byte("Name:\ta\nNSpid:\t27454\t2\n"))
	f.Add([]byte("NSpid:"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := depth(b); n < 0 || n > len(b) {
			t.Error(n)
		}
	})
}
