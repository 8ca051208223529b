//go:build lab

package appliance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/image/appliance/inside"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/repair"
)

// TestMain lets this program be the first process of appliances.
func TestMain(m *testing.M) {
	if inside.Called() {
		inside.Main()
	}
	os.Exit(m.Run())
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// kernelDir is where scripts/setup unpacks a kernel.
func kernelDir(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "droveway", "kernel")
}

func hash(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// planFor inspects an image and plans for it.
func planFor(t *testing.T, image string) (*inspect.Report, *repair.Plan) {
	t.Helper()
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	var p *repair.Plan
	r, err := inspect.File(context.Background(), image, inspect.Options{Catalog: c, Then: func(r *inspect.Report, tree *filesystem.Tree) (err error) {
		p, err = repair.Make(r, tree)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

func testAppliance(t *testing.T) *Appliance {
	return New(Config{Kernel: kernelDir(t), Accel: "tcg", User: "nobody"})
}

// writeTree fills a directory.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// small are the files of a system that is known as Debian.
var small = map[string]string{
	"etc/os-release": "ID=debian\nVERSION_ID=12\n", "etc/debian_version": "12.5\n", "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
	"var/lib/dpkg/status": "", "etc/apt/sources.list": "", "usr/bin/apt-get": "", "sbin/init": "", "bin/sh": "", "lib/modules/x": "",
	"etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n/dev/sdb1 /data ext4 defaults 0 2\n",
}

// partitioned makes a disk of one partition with an ext4 file system of files.
func partitioned(t *testing.T, files map[string]string) string {
	t.Helper()
	root, disk := t.TempDir(), filepath.Join(t.TempDir(), "disk.raw")
	writeTree(t, root, files)
	tool(t, "truncate", "-s", "64M", disk)
	tool(t, "sh", "-c", "printf 'label: dos\nstart=1MiB, type=83, bootable\n' | sfdisk -q "+disk)
	tool(t, "mkfs.ext4", "-q", "-U", "11111111-2222-4333-8444-555555555555", "-E", fmt.Sprintf("offset=%d", 1<<20), "-d", root, disk, "62M")
	return disk
}

// flat gives the bytes of an overlay with all below it.
func flat(t *testing.T, overlay string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "flat.raw")
	tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	part := raw + ".p1"
	tool(t, "dd", "if="+raw, "of="+part, "bs=1M", "skip=1", "status=none")
	tool(t, "e2fsck", "-fn", part)
	return part
}

func cat(t *testing.T, part, file string) string {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "cat "+file, part).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestFstab changes a file of a disk that is not touched itself. SYSTEMS 5.6, 5.9
func TestFstab(t *testing.T) {
	disk := partitioned(t, small)
	before := hash(t, disk)
	report, plan := planFor(t, disk)
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	began := time.Now()
	result, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, Progress: func(step string, done, total int) {
		t.Logf("%s: %d/%d %s", step, done, total, time.Since(began))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", result)
	if hash(t, disk) != before {
		t.Error("the image was changed")
	}
	part := flat(t, overlay)
	if got, want := cat(t, part, "/etc/fstab"), "UUID=11111111-2222-4333-8444-555555555555 / ext4 defaults 0 1\n/dev/sdb1 /data ext4 defaults,nofail 0 2\n"; got != want {
		t.Errorf("fstab is\n%s", got)
	}
	if got := cat(t, part, "/etc/fstab"+repair.Beside); got != small["etc/fstab"] {
		t.Errorf("what is kept of fstab is\n%s", got)
	}
}
