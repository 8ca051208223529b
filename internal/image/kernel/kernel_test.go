package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/kernel"
)

// TestFind takes the newest kernel that has modules, by the numbers in its version.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := kernel.Find(dir); !droveway.Is(err, droveway.NotFound) || !strings.Contains(err.Error(), dir) {
		t.Errorf("none: %v", err)
	}
	for _, name := range []string{"boot/vmlinuz-6.1.0-9", "boot/vmlinuz-6.1.0-10", "boot/vmlinuz-6.1.0-11", "lib/modules/6.1.0-9/modules.builtin", "lib/modules/6.1.0-10/modules.builtin", "lib/modules/6.1.0-10/a/x-y.ko.xz"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("kernel/fs/ext4/ext4.ko\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k, err := kernel.Find(dir)
	if err != nil || k.Version != "6.1.0-10" || k.Image != filepath.Join(dir, "boot/vmlinuz-6.1.0-10") || !k.Has("x_y") || !k.Has("ext4") || k.Has("btrfs") {
		t.Fatalf("%+v, %v", k, err)
	}
	if m, err := k.Load([]string{"ext4"}); err != nil || len(m) > 0 {
		t.Errorf("what is part of the kernel: %v, %v", m, err)
	}
	if _, err := k.Load([]string{"btrfs"}); !droveway.Is(err, droveway.NotFound) || !strings.Contains(err.Error(), "btrfs") {
		t.Errorf("a module that there is not: %v", err)
	}
	if _, err := k.Load([]string{"x_y"}); err == nil {
		t.Error("a module that is none is taken")
	}
}
