//go:build lab

package volume

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/droveway/droveway"
)

// A kill of qemu-img before each of its calls that change the file, in turn,
// leaves a whole volume of the old size or the new one, which grows when it is
// asked again.
func TestGrowthKilled(t *testing.T) {
	const wanted = 1 << 40 // so large that the tables have to grow
	disk, sizes := testDisk(), map[int64]int{}
	for n := 1; ; n++ {
		p := openPool(t)
		if err := p.Fill(t.Context(), "a", droveway.QCOW2, 0, bytes.NewReader(disk), droveway.Raw, nil); err != nil {
			t.Fatal(err)
		}
		path, _, err := p.Path("a")
		if err != nil {
			t.Fatal(err)
		}
		killed := growAndKill(t, path, wanted, n)
		size, err := p.Size("a")
		if err != nil || size != int64(len(disk)) && size != wanted {
			t.Errorf("killed before call %d: %d bytes, %v", n, size, err)
		}
		sizes[size]++
		isSound(t, path, n)
		sameBytes(t, fmt.Sprintf("killed before call %d", n), firstBytes(t, p, len(disk)), disk)
		if err := p.Grow(t.Context(), "a", wanted); err != nil {
			t.Errorf("killed before call %d, then grown: %v", n, err)
		}
		sameBytes(t, fmt.Sprintf("killed before call %d, then grown", n), firstBytes(t, p, len(disk)), disk)
		if !killed {
			t.Logf("killed at %d calls; sizes found afterwards, and how often: %v", n-1, sizes)
			break
		}
	}
	if sizes[int64(len(disk))] == 0 || sizes[wanted] == 0 {
		t.Errorf("sizes %v: want kills before the growth and after it", sizes)
	}
}

// growAndKill runs qemu-img resize, which dies before the n-th call that changes
// its file, if there are so many.
func growAndKill(t *testing.T, path string, size int64, n int) (killed bool) {
	t.Helper()
	const calls = "pwrite64,pwritev,ftruncate,fallocate,fdatasync,fsync"
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", calls, n)
	cmd := exec.Command("strace", "-f", "-o", os.DevNull, "-e", "trace="+calls, "-e", inject, "qemu-img", "resize", "-q", "-f", "qcow2", path, fmt.Sprint(size))
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	return err != nil
}

// isSound checks the tables of a qcow2 file. Clusters that are counted and not
// used do no harm.
func isSound(t *testing.T, path string, n int) {
	t.Helper()
	out, err := exec.Command("qemu-img", "check", "-q", "-f", "qcow2", path).CombinedOutput()
	const leaks = 3
	if exit, ok := err.(*exec.ExitError); err != nil && !(ok && exit.ExitCode() == leaks) {
		t.Errorf("killed before call %d: %v: %s", n, err, out)
	}
}

// firstBytes reads the first bytes of a volume as a guest would see it.
func firstBytes(t *testing.T, p *Pool, n int) []byte {
	t.Helper()
	path, format, err := p.Path("a")
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Reader(t.Context(), path, format)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, n)
	if _, err := r.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}
