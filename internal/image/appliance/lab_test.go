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

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/inside"
	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/repair"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// TestMain lets this program be the first process of appliances.
func TestMain(m *testing.M) {
	if inside.Called() {
		inside.Main()
	}
	os.Exit(m.Run())
}

// kernelDir is where scripts/setup unpacks a kernel.
func kernelDir(t *testing.T) string {
	t.Helper()
	dir, err := tinyimage.KernelDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
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
	return planWith(t, image, repair.Options{})
}

func planWith(t *testing.T, image string, o repair.Options, keys ...luks.Key) (*inspect.Report, *repair.Plan) {
	t.Helper()
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	var p *repair.Plan
	r, err := inspect.File(context.Background(), image, inspect.Options{Catalog: c, Keys: keys, Then: func(r *inspect.Report, tree *filesystem.Tree) (err error) {
		p, err = repair.MakeWith(r, tree, o)
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
	disktest.Tree(t, root, files)
	disktest.Tool(t, "truncate", "-s", "64M", disk)
	disktest.Tool(t, "sh", "-c", "printf 'label: dos\nstart=1MiB, type=83, bootable\n' | sfdisk -q "+disk)
	disktest.Tool(t, "mkfs.ext4", "-q", "-U", "11111111-2222-4333-8444-555555555555", "-E", fmt.Sprintf("offset=%d", 1<<20), "-d", root, disk, "62M")
	return disk
}

// flat gives the bytes of an overlay with all below it.
func flat(t *testing.T, overlay string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "flat.raw")
	disktest.Tool(t, "qemu-img", "convert", "-O", "raw", overlay, raw)
	part := raw + ".p1"
	disktest.Tool(t, "dd", "if="+raw, "of="+part, "bs=1M", "skip=1", "status=none")
	disktest.Tool(t, "e2fsck", "-fn", part)
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

// crashed gives a copy of a disk as a crash would leave it: what was written last is in
// the journal of its file system alone.
func crashed(t *testing.T, disk string) string {
	t.Helper()
	again := filepath.Join(t.TempDir(), "crashed.raw")
	disktest.Mounted(t, disktest.Part(t, disk, 1, 62), "rw", func(at string) {
		disktest.Tree(t, at, map[string]string{"var/late": "late\n"})
		disktest.Tool(t, "sync", filepath.Join(at, "var/late"))
		disktest.Tool(t, "cp", disk, again)
	})
	return again
}

// TestFstab changes a file of a disk that was not shut down. The disk itself is not
// touched. SYSTEMS 5.6, 5.9
func TestFstab(t *testing.T) {
	disk := crashed(t, partitioned(t, small))
	before := hash(t, disk)
	report, plan := planFor(t, disk)
	if report.Volumes[0].Dirty == "" {
		t.Fatalf("the disk is clean: %+v", report.Volumes)
	}
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	var steps []string
	result, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: overlay, Plan: plan, Report: report, Progress: func(step string, done, total int) {
		steps = append(steps, fmt.Sprintf("%s %d/%d", step, done, total))
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"start 0/4", "mount 1/4", "fstab 2/4", "unmount 3/4"}, steps); diff != "" {
		t.Error(diff)
	}
	if hash(t, disk) != before {
		t.Error("the image was changed")
	}
	part := flat(t, overlay)
	text := cat(t, part, "/etc/fstab")
	if want := "UUID=11111111-2222-4333-8444-555555555555 / ext4 defaults 0 1\n/dev/sdb1 /data ext4 defaults,nofail 0 2\n"; text != want {
		t.Errorf("fstab is\n%s", text)
	}
	if got := cat(t, part, "/etc/fstab"+repair.Beside); got != small["etc/fstab"] {
		t.Errorf("what is kept of fstab is\n%s", got)
	}
	if got := cat(t, part, "/var/late"); got != "late\n" {
		t.Errorf("what was written last is %q", got)
	}
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	want := []Change{{Step: "fstab", Path: "/etc/fstab", Before: sum(small["etc/fstab"]), After: sum(text), Backup: "/etc/fstab" + repair.Beside}}
	if diff := cmp.Diff(want, result.Changes); diff != "" {
		t.Error(diff)
	}
}

// TestFails leaves nothing of a repair that fails, and says why it did.
func TestFails(t *testing.T) {
	disk := partitioned(t, small)
	before := hash(t, disk)
	report, plan := planFor(t, disk)
	changed := repair.Plan{Family: "debian", Steps: []repair.Step{{Name: "fstab", Files: []repair.File{{Path: "/etc/fstab", Was: "another", Text: "x"}}}}}
	program := repair.Plan{Family: "debian", Steps: append(plan.Steps, repair.Step{Name: "loader", Run: [][]string{{"update-grub"}}})}
	for _, k := range []struct {
		name  string
		plan  *repair.Plan
		limit time.Duration
		kind  droveway.Kind
		words []string
	}{
		{"a file that has changed since", &changed, 0, droveway.Conflict, []string{"step fstab", "/etc/fstab", "inspect the image again"}},
		{"a program that is not there", &program, 0, droveway.Invalid, []string{"step loader", "update-grub"}},
		{"time", plan, 2 * time.Second, droveway.Unavailable, []string{"step start", "more than 2s"}},
	} {
		dir := t.TempDir()
		a := New(Config{Kernel: kernelDir(t), Accel: "tcg", User: "nobody", Limit: k.limit})
		_, err := a.Repair(t.Context(), Request{Image: disk, Overlay: filepath.Join(dir, "overlay.qcow2"), Plan: k.plan, Report: report})
		for _, w := range k.words {
			if !droveway.Is(err, k.kind) || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v", k.name, err)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left (%v)", k.name, left, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "droveway-appliance-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	mine := filepath.Join(t.TempDir(), "mine")
	disktest.Tree(t, filepath.Dir(mine), map[string]string{"mine": "mine"})
	if _, err := testAppliance(t).Repair(t.Context(), Request{Image: disk, Overlay: mine, Plan: plan, Report: report}); !droveway.Is(err, droveway.Exists) {
		t.Errorf("over a file that is there: %v", err)
	}
	if b, err := os.ReadFile(mine); err != nil || string(b) != "mine" {
		t.Errorf("a file that was there is %q (%v)", b, err)
	}
	if hash(t, disk) != before {
		t.Error("the image was changed")
	}
}
