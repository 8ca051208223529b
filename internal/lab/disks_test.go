//go:build lab

package lab

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Hosts with disks of their own: one is full or unreadable, the other is not.
// That Down ends the mounts, up sees to.
func TestDisks(t *testing.T) {
	c := config(t, 2)
	c.DiskMiB = 64
	l := up(t, c)
	a, b := filepath.Join(l.Dir("host-a"), "file"), filepath.Join(l.Dir("host-b"), "file")
	content := bytes.Repeat([]byte{1}, 64<<10)
	write := func(path string) error { return os.WriteFile(path, content, 0o600) }
	must(t, errors.Join(write(a), write(b)))
	must(t, l.SpoilFile("host-a", a))
	if _, err := os.ReadFile(a); !errors.Is(err, syscall.EIO) {
		t.Errorf("read of a spoilt file: %v", err)
	}
	must(t, l.HealDisk("host-a"))
	if got, err := os.ReadFile(a); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read of a healed file: %v", err)
	}
	must(t, l.FillDisk("host-a"))
	if err := write(a + "2"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full disk: %v", err)
	}
	must(t, write(b+"2"))
	must(t, l.EmptyDisk("host-a"))
	must(t, write(a+"2"))
	if err := l.FillDisk("host-c"); err == nil {
		t.Error("a host that is not there has a disk")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
