package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/droveway/droveway/bench/cost"
)

// image is a file to inspect, and what it holds.
type image struct {
	name, path, os string
	key            string // file with the passphrase
}

// debian is a real disk, and the first image; the others are it in other formats.
const debian = "debian12"

// formats are what qemu-img makes of the Debian disk.
var formats = []struct {
	name string
	args []string
}{
	{"qcow2", []string{"-O", "qcow2"}},
	{"qcow2, compressed", []string{"-O", "qcow2", "-c", "-o", "compression_type=zstd"}},
	{"vmdk, stream", []string{"-O", "vmdk", "-o", "subformat=streamOptimized"}},
	{"vhdx", []string{"-O", "vhdx"}},
}

// build makes the images.
func build(ctx context.Context, dir string, log *slog.Logger) ([]image, error) {
	log.Info("making the Debian disk, if it is not there")
	disk, err := cost.Command(ctx, "scripts/build-debian-image")
	if err != nil {
		return nil, err
	}
	all := []image{{name: "debian 12, raw", path: disk, os: debian}}
	for n, f := range formats {
		path := filepath.Join(dir, fmt.Sprint("disk", n))
		log.Info("converting", "to", f.name)
		if _, err := cost.Command(ctx, "qemu-img", append(append([]string{"convert", "-f", "raw"}, f.args...), disk, path)...); err != nil {
			return nil, err
		}
		all = append(all, image{name: "debian 12, " + f.name, path: path, os: debian})
	}
	// Its initramfs has no virtio drivers, so that it has to be read to its end.
	log.Info("making a disk of VMware's, if it is not there")
	foreign, err := cost.Command(ctx, "scripts/build-debian-image", "--foreign")
	if err != nil {
		return nil, err
	}
	all = append(all, image{name: "debian 12 as of VMware, raw", path: foreign, os: debian})
	small, err := split(ctx, dir)
	if err != nil {
		return nil, err
	}
	locked, err := lock(ctx, dir)
	return append(all, small, locked), err
}

// split unpacks a disk of the tests.
func split(ctx context.Context, dir string) (image, error) {
	path := filepath.Join(dir, "split.raw")
	_, err := cost.Command(ctx, "zstd", "-q", "-d", "internal/image/inspect/testdata/split.zst", "-o", path)
	return image{name: "6 partitions, joined by fstab", path: path, os: debian}, err
}

// lock makes an encrypted volume with what cryptsetup takes by default, but for its
// memory, which depends on the machine.
func lock(ctx context.Context, dir string) (image, error) {
	i := image{name: "luks2, argon2id of 256 MiB", path: filepath.Join(dir, "luks.raw"), key: filepath.Join(dir, "key")}
	if err := os.WriteFile(i.key, []byte("secret"), 0o600); err != nil {
		return i, err
	}
	if _, err := cost.Command(ctx, "truncate", "-s", "64M", i.path); err != nil {
		return i, err
	}
	_, err := cost.Command(ctx, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf-memory", "262144", "--pbkdf-force-iterations", "4", "--key-file", i.key, i.path)
	return i, err
}
