//go:build lab

package volume

import (
	"bytes"
	"io"
	"syscall"
	"testing"

	"github.com/droveway/droveway"
)

// smallPool is a pool on a file system of 8 MiB.
func smallPool(t *testing.T) *Pool {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	p, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFullDisk(t *testing.T) {
	disk := append(testDisk()[:1<<20], noise(7, 5<<20)...)
	large := append(testDisk()[:1<<20], noise(7, 15<<20)...)
	small := image(t, testDisk(), droveway.QCOW2)
	for name, c := range map[string]struct {
		image []byte
		src   droveway.Format
		dst   droveway.Format
		says  string
	}{
		"stream":  {large, droveway.Raw, droveway.Raw, "8 MiB are missing and 0 MiB are free"},
		"convert": {disk, droveway.Raw, droveway.QCOW2, "MiB are missing and 2 MiB are free"},
		"fits":    {small, droveway.QCOW2, droveway.Raw, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := smallPool(t)
			from := io.LimitReader(bytes.NewReader(c.image), int64(len(c.image)))
			err := p.Fill(t.Context(), "a", c.dst, 0, from, c.src, nil)
			if c.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, droveway.Unavailable, c.says)
			if left := names(t, p); len(left) != 0 {
				t.Errorf("left %v", left)
			}
			if free, err := p.Free(); err != nil || free < 7<<20 {
				t.Errorf("%d bytes are free afterwards, %v", free, err)
			}
		})
	}
}
