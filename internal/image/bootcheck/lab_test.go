//go:build lab

package bootcheck

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor/qemu"
	"github.com/droveway/droveway/internal/image/disk/disktest"
	"github.com/droveway/droveway/internal/lab/tinyimage"
)

// image gives a copy of the tiny guest's image.
func image(t *testing.T, dir string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	tiny, err := tinyimage.Build(t.Context(), tinyimage.Config{Cache: filepath.Join(cache, "droveway", "images"), SizeMiB: tinyimage.MinSizeMiB, UEFI: true})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "image")
	disktest.Tool(t, "cp", tiny, path)
	return path
}

func hashOf(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// TestBoot boots a real guest in either firmware, and the same without what it boots
// from. Nothing of the images changes, and nothing is left. SYSTEMS 5.5, 5.9.
func TestBoot(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Driver: qemu.New(qemu.Config{User: "nobody"}), Dir: filepath.Join(dir, "checks"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	good := image(t, dir)
	bad := filepath.Join(dir, "bad")
	disktest.Tool(t, "cp", good, bad)
	disktest.Tool(t, "dd", "if=/dev/zero", "of="+bad, "bs=1M", "seek=1", "count=4", "conv=notrunc", "status=none")
	for name, k := range map[string]struct {
		image    string
		firmware droveway.Firmware
		want     droveway.Verdict
		sign     string
	}{
		"bios":         {good, droveway.BIOS, droveway.BootOK, "droveway-guest"},
		"uefi":         {good, droveway.UEFI, droveway.BootOK, "droveway-guest"},
		"no-boot-bios": {bad, droveway.BIOS, droveway.BootFailed, "no-disk-bios"},
		"no-boot-uefi": {bad, droveway.UEFI, droveway.BootFailed, "no-disk-uefi"},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := os.Stat(k.image)
			if err != nil {
				t.Fatal(err)
			}
			before := hashOf(t, k.image)
			res, err := c.Run(t.Context(), Request{Name: name, Image: k.image, Format: droveway.Raw, Size: info.Size(), Firmware: k.firmware, Within: 2 * time.Minute})
			if err != nil || res.Verdict != k.want || res.Sign != k.sign || res.Console == "" {
				t.Errorf("%+v, %v", res, err)
			}
			t.Logf("%s after %d ms:\n%s", res.Reason, res.TookMS, res.Console)
			if hashOf(t, k.image) != before {
				t.Error("the image has changed")
			}
			if left, err := os.ReadDir(filepath.Join(dir, "checks")); len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// TestTwoFileSystems has images on a disk of their own: that they cannot be booted is
// said before anything is copied.
func TestTwoFileSystems(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	must(t, os.Mkdir(images, 0o700))
	disktest.Tool(t, "mount", "-t", "tmpfs", "-o", "size=1m", "droveway-test", images)
	t.Cleanup(func() { disktest.Tool(t, "umount", images) })
	for at, fine := range map[string]bool{filepath.Join(dir, "checks"): false, filepath.Join(images, "checks"): true} {
		c, err := New(Config{Driver: &scripted{}, Dir: at, Images: images, Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		if err := c.Ready(t.Context(), droveway.BIOS); fine != (err == nil) || !fine && (!droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "two file systems")) {
			t.Errorf("checks in %s: %v", at, err)
		}
		if left, err := os.ReadDir(at); len(left) > 0 || err != nil {
			t.Errorf("left in %s: %v, %v", at, left, err)
		}
	}
}
