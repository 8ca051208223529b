//go:build lab

package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asServer makes the test program the process that serves a disk.
const asServer = "DISK_TEST_SERVES"

func TestMain(m *testing.M) {
	if image := os.Getenv(asServer); image != "" {
		if err := Serve(image, os.Args[1]); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func mounted(t *testing.T) Disk {
	t.Helper()
	dir := t.TempDir()
	d := Disk{Image: filepath.Join(dir, "image"), Path: filepath.Join(dir, "root")}
	front, err := d.Prepare(64)
	must(t, err)
	cmd := exec.Command("/proc/self/exe", front)
	cmd.Env = append(os.Environ(), asServer+"="+d.Image)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, Unmount(dir))
		must(t, cmd.Wait()) // it ends with its mount
	})
	for end := time.Now().Add(10 * time.Second); !d.Served(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the disk is not served")
		}
	}
	must(t, d.Mount(t.Context()))
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is spoilt cannot be read but can be written; once healed all is there.
func TestSpoiltFile(t *testing.T) {
	d := mounted(t)
	path, other := filepath.Join(d.Path, "file"), filepath.Join(d.Path, "other")
	want := bytes.Repeat([]byte("droveway"), 1<<18)
	must(t, os.WriteFile(path, want, 0o600))
	must(t, os.WriteFile(other, want, 0o600))
	must(t, d.Spoil(path))
	if _, err := os.ReadFile(path); !errors.Is(err, unix.EIO) {
		t.Errorf("read of a spoilt file: %v, want %v", err, unix.EIO)
	}
	if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the other file: %v", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	copy(want[block:], bytes.Repeat([]byte("x"), block))
	_, err = f.WriteAt(want[block:2*block], block)
	must(t, errors.Join(err, f.Sync()))
	must(t, d.Heal())
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the healed file: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	d := mounted(t)
	path := filepath.Join(d.Path, "file")
	must(t, d.Fill())
	if err := os.WriteFile(path, make([]byte, 2*block), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write to a full disk: %v, want %v", err, unix.ENOSPC)
	}
	must(t, d.Empty())
	must(t, os.WriteFile(path, make([]byte, 2*block), 0o600))
}
