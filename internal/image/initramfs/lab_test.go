//go:build lab

package initramfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
)

// TestPrograms reads what the programs of distributions pack.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	for name, what := range map[string][]byte{
		"init_functions": []byte("x"), "noise": filesystemtest.Noise(5 << 20), "zeros": make([]byte, 9<<20), "virtio_blk.ko.zst": []byte("m"), "z/virtio-net.ko": []byte("m"),
	} {
		p := filepath.Join(dir, "root", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, what, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, program := range map[string]string{
		"plain": "cat", "gzip": "gzip -n", "zstd": "zstd -T2", "zstd -19": "zstd -19", "lz4": "lz4 -l -9", "lz4 frames": "lz4", "xz": "xz --check=crc32", "xz -8": "xz -8", "bzip2": "bzip2", "lzma": "lzma",
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.Command("sh", "-c", "cd root && find . | sort | cpio -o -H newc --quiet | "+program)
			c.Dir = dir
			b, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(bytes.NewReader(b), nil)
			if err != nil || got.Kind != "mkinitcpio" || !got.Modules["virtio_blk"] || !got.Modules["virtio_net"] || got.Files != 7 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
