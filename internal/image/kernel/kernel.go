// Package kernel finds a Linux kernel that can be booted with modules of ours: that of
// this machine, or one whose package was unpacked somewhere.
//
// It reads boot/ and lib/modules/ below the directory that it is given.
package kernel

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/initramfs"
	"github.com/droveway/droveway/internal/image/inspect"
)

// Kernel is a kernel and what can be loaded into it.
type Kernel struct {
	Image   string // path of what is booted
	Version string
	files   map[string]string // of modules, by name
	builtin map[string]bool
}

// Find gives the newest kernel below a directory that has its modules there. NotFound if
// there is none.
func Find(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "look for kernels in %s: %w", dir, err)
	}
	inside, _ := filepath.Glob(filepath.Join(dir, "lib", "modules", "*", "vmlinuz")) // the pattern is good
	images = append(images, inside...)
	slices.SortStableFunc(images, func(a, b string) int { return inspect.Newer(versionOf(b), versionOf(a)) })
	for _, image := range images {
		k := &Kernel{Image: image, Version: versionOf(image), files: map[string]string{}, builtin: map[string]bool{}}
		if err := k.list(filepath.Join(dir, "lib", "modules", k.Version)); err == nil {
			return k, nil
		}
	}
	return nil, droveway.Errorf(droveway.NotFound, "no kernel with its modules in %s and %s", filepath.Join(dir, "boot"), filepath.Join(dir, "lib", "modules"))
}

func versionOf(image string) string {
	if filepath.Base(image) == "vmlinuz" {
		return filepath.Base(filepath.Dir(image))
	}
	return strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
}

// list finds the modules, and those that are part of the kernel itself.
func (k *Kernel) list(root string) error {
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

// Has reports whether a module can be loaded, or need not be.
func (k *Kernel) Has(name string) bool { return k.builtin[name] || k.files[name] != "" }
