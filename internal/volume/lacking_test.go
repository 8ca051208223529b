package volume

import (
	"os/exec"
	"testing"

	"github.com/droveway/droveway"
)

// TestLacking has a volume without its bytes: it says so until it has them, and
// nobody can open it who does not know where they are.
func TestLacking(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	for range 2 { // the second time it is there
		if err := p.CreateLacking(t.Context(), "web-1.root", 8<<20); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, p.CreateLacking(t.Context(), "web-1.root", 16<<20), droveway.Exists, "web-1.root")
	wantError(t, p.CreateLacking(t.Context(), "web-1.data", 0), droveway.Invalid, "size")
	path, format, err := p.Path("web-1.root")
	if err != nil || format != droveway.QCOW2 {
		t.Fatalf("path %s, %s, %v", path, format, err)
	}
	if size, err := p.Size("web-1.root"); err != nil || size != 8<<20 {
		t.Errorf("size %d, %v", size, err)
	}
	if whole, err := p.Whole("web-1.root"); err != nil || whole {
		t.Errorf("whole %t, %v", whole, err)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-io", "-r", "-f", "qcow2", "-c", "read 0 4k", path).CombinedOutput(); err == nil {
		t.Errorf("it reads as if all of it were there: %s", out)
	}
	qemuImg(t, "rebase", "-u", "-f", "qcow2", "-b", "", path) // what the end of the copy does
	if whole, err := p.Whole("web-1.root"); err != nil || !whole {
		t.Errorf("whole %t, %v", whole, err)
	}
}

func TestOthersAreWhole(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	for _, format := range formats {
		if err := p.Create(t.Context(), "a."+string(format), format, 1<<20); err != nil {
			t.Fatal(err)
		}
		if whole, err := p.Whole("a." + string(format)); err != nil || !whole {
			t.Errorf("%s: whole %t, %v", format, whole, err)
		}
	}
	_, err := p.Whole("none")
	wantError(t, err, droveway.NotFound, "none")
}
