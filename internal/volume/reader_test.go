package volume

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// writer writes to a disk that it holds open and locked, as a guest's process
// does.
type writer struct {
	t   *testing.T
	in  io.WriteCloser
	out io.Reader
}

func openWriter(t *testing.T, path string, format droveway.Format) *writer {
	t.Helper()
	// Its answers are waited for, so it must not keep them in a buffer.
	cmd := exec.Command("stdbuf", "-o0", "qemu-io", "-f", string(format), path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &writer{t, in, out}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("qemu-io: %v", err)
		}
	})
	w.prompt()
	return w
}

// do runs one command of qemu-io and waits for its next prompt.
func (w *writer) do(command string) {
	w.t.Helper()
	if _, err := io.WriteString(w.in, command+"\n"); err != nil {
		w.t.Fatal(err)
	}
	if said := w.prompt(); strings.Contains(said, "fail") || strings.Contains(said, "error") {
		w.t.Fatalf("qemu-io %s: %s", command, said)
	}
}

// prompt reads up to the next prompt.
func (w *writer) prompt() string {
	w.t.Helper()
	var said []byte
	for one := make([]byte, 1); !bytes.HasSuffix(said, []byte("qemu-io> ")); said = append(said, one[0]) {
		if _, err := w.out.Read(one); err != nil {
			w.t.Fatalf("qemu-io: %v after %q", err, said)
		}
	}
	return string(said)
}

func (w *writer) write(value byte, off, n int64) {
	w.t.Helper()
	w.do(fmt.Sprintf("write -P %d %d %d", value, off, n))
}

// flush also brings the tables of a qcow2 disk to its file.
func (w *writer) flush() {
	w.t.Helper()
	w.do("flush")
}

func TestReaderBesideWriter(t *testing.T) {
	t.Parallel()
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			p := openPool(t)
			if err := p.Create(t.Context(), "a", format, 8<<20); err != nil {
				t.Fatal(err)
			}
			path, _, err := p.Path("a")
			if err != nil {
				t.Fatal(err)
			}
			w := openWriter(t, path, format)
			w.write(7, 3<<20, 65536)
			w.flush()
			want := make([]byte, 8<<20)
			copy(want[3<<20:], bytes.Repeat([]byte{7}, 65536))
			sameBytes(t, "disk in use", contentsOf(t, p, "a"), want)
			if size, err := p.Size("a"); err != nil || size != 8<<20 {
				t.Errorf("size in use: %d, %v", size, err)
			}
			if left := names(t, p); len(left) != 1 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestReaderOfOddPath(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	disk := testDisk()
	path := write(t, filepath.Join(p.dir, "a,b=c:d.qcow2"), image(t, disk, droveway.QCOW2))
	r, err := p.Reader(t.Context(), path, droveway.QCOW2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(disk))
	if _, err := r.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "disk", got, disk)
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	raw := write(t, filepath.Join(p.dir, "raw"), testDisk())
	_, err := p.Reader(t.Context(), raw, droveway.QCOW2)
	wantError(t, err, droveway.Unavailable, "raw", "qemu-nbd ended")
	_, err = p.Reader(t.Context(), filepath.Join(p.dir, "none"), droveway.Raw)
	wantError(t, err, droveway.NotFound, "none")
	_, err = p.Reader(t.Context(), raw, "vmdk")
	wantError(t, err, droveway.Invalid, "vmdk")
	if left := names(t, p); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}
