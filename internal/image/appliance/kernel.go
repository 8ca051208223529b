package appliance

import (
	"bytes"
	"cmp"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/initramfs"
	"github.com/droveway/droveway/internal/image/inspect"
)

// kernel is one that an appliance can boot.
type kernel struct {
	image   string // path
	version string
	files   map[string]string // of modules, by name
	builtin map[string]bool
}

// findKernel takes the newest kernel below a directory that has its modules there.
func findKernel(dir string) (*kernel, error) {
	dir = cmp.Or(dir, "/")
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "look for kernels in %s: %w", dir, err)
	}
	inside, _ := filepath.Glob(filepath.Join(dir, "lib", "modules", "*", "vmlinuz")) // the pattern is good
	version := func(image string) string {
		if filepath.Base(image) == "vmlinuz" {
			return filepath.Base(filepath.Dir(image))
		}
		return strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
	}
	images = append(images, inside...)
	slices.SortStableFunc(images, func(a, b string) int { return inspect.Newer(version(b), version(a)) })
	for _, image := range images {
		k := &kernel{image: image, version: version(image), files: map[string]string{}, builtin: map[string]bool{}}
		if err := k.list(filepath.Join(dir, "lib", "modules", k.version)); err == nil {
			return k, nil
		}
	}
	return nil, droveway.Missing("image.repair", "no kernel with its modules in %s/boot and %s/lib/modules: install a kernel package, or name a directory that one was unpacked into with --appliance-kernel", dir, dir)
}

// list finds the modules, and those that are part of the kernel itself.
func (k *kernel) list(root string) error {
	b, err := os.ReadFile(filepath.Join(root, "modules.builtin"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := initramfs.ModuleName(strings.TrimSpace(line)); ok {
			k.builtin[name] = true
		}
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := initramfs.ModuleName(path); ok && d.Type().IsRegular() {
			k.files[name] = path
		}
		return nil
	})
}

// module is a module's file, unpacked.
type module struct {
	name string
	data []byte
}

// load reads modules and what they need, in the order in which they can be loaded.
func (k *kernel) load(wanted []string) ([]module, error) {
	var order []module
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || k.builtin[name] {
			return nil
		}
		seen[name] = true
		path, ok := k.files[name]
		if !ok {
			return droveway.Missing("image.repair", "kernel %s has no module %s, which this image needs: choose another kernel with --appliance-kernel", k.version, name)
		}
		m, needs, err := readModule(name, path)
		if err != nil {
			return droveway.Errorf(droveway.KindOf(err), "kernel module %s: %w", path, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, m)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// maxModule is how large a module may be, unpacked.
const maxModule = 64 << 20

// readModule also gives the names of those that it says it needs; for the rest see
// forFilesystem.
func readModule(name, path string) (module, []string, error) {
	f, err := os.Open(path)
	if err != nil {
		return module{}, nil, droveway.Errorf(droveway.NotFound, "%w", err)
	}
	defer f.Close()
	r, err := initramfs.Unpack(f)
	if err != nil {
		return module{}, nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxModule))
	if err != nil {
		return module{}, nil, droveway.Errorf(droveway.Invalid, "%w", err)
	}
	needs, err := initramfs.ModuleNeeds(bytes.NewReader(data))
	return module{name, data}, needs, err
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

// has reports whether a module can be loaded, or need not be.
func (k *kernel) has(name string) bool { return k.builtin[name] || k.files[name] != "" }

// modulesFor chooses the modules for a disk.
func (k *kernel) modulesFor(d wire.Disk) []string {
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
	return slices.DeleteFunc(wanted, func(m string) bool { return !k.has(m) && slices.Contains(optional, m) })
}
