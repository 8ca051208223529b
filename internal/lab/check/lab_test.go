//go:build lab

package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func write(t *testing.T, path string, offset int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

// qcow2 makes a copy in the other format.
func qcow2(t *testing.T, raw string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a,disk.qcow2")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
	return path
}

func TestDebianReadsRecordsOutOfTheFileSystem(t *testing.T) {
	root := t.TempDir()
	records := filepath.Join(root, debianRecords)
	if err := os.MkdirAll(filepath.Dir(records), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, records, 0, disk(t, testSize, 50, 20))
	raw := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "32M", raw)
	tool(t, "mkfs.ext4", "-q", "-E", "offset=1048576", "-d", root, raw, "31m")
	for format, path := range map[droveway.Format]string{droveway.Raw: raw, droveway.QCOW2: qcow2(t, raw)} {
		r, err := Debian(t.Context(), path, format, summary(50))
		if err != nil || r.Lost != 1 || r.Newest != 50 {
			t.Errorf("%s: %+v, %v: want 1 lost, newest 50", format, r, err)
		}
	}
}

func TestDebianWithoutAFileSystemIsAnError(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "32M", raw)
	if r, err := Debian(t.Context(), raw, droveway.Raw, summary(50)); err == nil {
		t.Errorf("%+v of a blank disk", r)
	}
}

func TestTinyReadsBothFormats(t *testing.T) {
	image, err := tinyimage.Build(t.Context(), tinyimage.Config{Cache: t.TempDir(), SizeMiB: tinyimage.MinSizeMiB})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	offset, size, err := tinyimage.Records(f)
	if err != nil {
		t.Fatal(err)
	}
	region := disk(t, size, 50, 20)
	write(t, image, offset, region)
	tool(t, "truncate", "-s", "+8M", image) // a machine may have a larger disk than its image
	for format, path := range map[droveway.Format]string{droveway.Raw: image, droveway.QCOW2: qcow2(t, image)} {
		r, err := Tiny(t.Context(), path, format, summary(50))
		if err != nil || r.Lost != 1 || r.Newest != 50 {
			t.Errorf("%s: %+v, %v: want 1 lost, newest 50", format, r, err)
		}
	}
}

func TestTinyRefusesAnotherDisk(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "disk.raw")
	write(t, raw, 0, make([]byte, 1<<20))
	if r, err := Tiny(t.Context(), raw, droveway.Raw, summary(50)); err == nil {
		t.Errorf("%+v of a blank disk", r)
	}
}
