package volume

import (
	"bytes"
	"crypto/sha256"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
)

// helperEnv makes the test binary play one of the helpers instead.
const helperEnv = "DROVEWAY_VOLUME_HELPER"

func TestMain(m *testing.M) {
	if h, ok := helpers[os.Getenv(helperEnv)]; ok {
		h()
		return
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openPool(t *testing.T) *Pool {
	t.Helper()
	dir, err := os.MkdirTemp("", "pool") // t.TempDir is too long a name for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// names lists what is in a pool's directory.
func names(t *testing.T, p *Pool) []string {
	t.Helper()
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// noise makes n bytes without a zero block, the same for the same seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// testDisk is a disk of 3 MiB and a half with an MBR signature and a hole.
func testDisk() []byte {
	b := make([]byte, 3<<20+512<<10)
	copy(b, noise(1, 1<<20))
	b[510], b[511] = 0x55, 0xaa
	copy(b[3<<20:], noise(2, 100<<10))
	return b
}

func write(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// image gives the bytes of a disk in a format.
func image(t *testing.T, disk []byte, format droveway.Format) []byte {
	t.Helper()
	if format == droveway.Raw {
		return disk
	}
	dir := t.TempDir()
	raw, out := write(t, filepath.Join(dir, "raw"), disk), filepath.Join(dir, "out")
	qemuImg(t, "convert", "-f", "raw", "-O", string(format), raw, out)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contentsOf reads a volume as a guest would see it.
func contentsOf(t *testing.T, p *Pool, name string) []byte {
	t.Helper()
	path, format, err := p.Path(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Reader(t.Context(), path, format)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes with sum %x, want %d with %x", what, len(got), sha256.Sum256(got), len(want), sha256.Sum256(want))
	}
}

// blocks is how much room a file takes, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func wantError(t *testing.T, err error, kind droveway.Kind, says ...string) {
	t.Helper()
	if droveway.KindOf(err) != kind {
		t.Fatalf("error %v of kind %q, want %q", err, droveway.KindOf(err), kind)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}
