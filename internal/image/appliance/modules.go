package appliance

import (
	"cmp"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/kernel"
)

// findKernel takes the newest kernel below a directory; empty: that of this machine.
func findKernel(dir string) (*kernel.Kernel, error) {
	k, err := kernel.Find(cmp.Or(dir, "/"))
	if droveway.Is(err, droveway.NotFound) {
		return nil, droveway.Missing("image.repair", "%v: install a kernel package, or name a directory that one was unpacked into with --appliance-kernel", err)
	}
	return k, err
}

// load reads the modules for a disk.
func load(k *kernel.Kernel, d wire.Disk) ([]kernel.Module, error) {
	modules, err := k.Load(modulesFor(d, k.Has))
	if droveway.Is(err, droveway.NotFound) {
		return nil, droveway.Missing("image.repair", "%v, which this image needs: choose another kernel with --appliance-kernel", err)
	}
	return modules, err
}

// forDisk are the modules that show the disk.
var forDisk = []string{"virtio_pci", "virtio_blk"}

// ntfs is the kind of file system that a program mounts.
const ntfs = "ntfs"

// forFilesystem are the modules of each kind of file system, with those that it asks
// for by another name, and before it.
var forFilesystem = map[string][]string{
	"ext2":  {"crc32c_generic", "ext4"},
	"ext3":  {"crc32c_generic", "ext4"},
	"ext4":  {"crc32c_generic", "ext4"},
	"xfs":   {"crc32c_generic", "xfs"},
	"btrfs": {"crc32c_generic", "btrfs"},
	ntfs:    {"fuse"}, // and a program
	"vfat":  {"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "vfat"},
}

// optional are modules that some kernels have under another name or in themselves
// without saying so.
var optional = []string{
	"crc32c_generic", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8",
	"aes_generic", "aesni_intel", "ecb", "sha1_generic", "sha256_generic", "sha512_generic",
}

// modulesFor chooses the modules for a disk, of those that the kernel has.
func modulesFor(d wire.Disk, has func(module string) bool) []string {
	wanted := slices.Clone(forDisk)
	for _, a := range d.Arrays {
		wanted = append(wanted, forLevel(a.Level))
	}
	if len(d.Maps) > 0 {
		wanted = append(wanted, "dm_mod")
	}
	for _, m := range d.Maps {
		for _, t := range m.Table {
			if t.Kind == crypt {
				wanted = append(wanted, forCipher(t.Params)...)
			}
		}
	}
	for _, m := range d.Mounts {
		wanted = append(wanted, forFilesystem[m.Kind]...)
	}
	return slices.DeleteFunc(wanted, func(m string) bool { return !has(m) && slices.Contains(optional, m) })
}
