package repair

import (
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/initramfs"
	"github.com/droveway/droveway/internal/image/inspect"
)

// appendable are compressions behind whose data the kernel looks for another archive.
// Its lz4 takes what follows for more of its own.
var appendable = []string{"gzip", "xz", "zstd"}

// bootDrivers are what a guest needs to find its root on a virtio disk.
var bootDrivers = []string{"virtio_pci", "virtio_blk", "virtio_scsi"}

// indexes are what modprobe finds modules by. Those of the guest know all modules,
// also those that its initramfs lacks.
var indexes = []string{"modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin", "modules.softdep"}

const maxDependencies = 4 << 20 // bytes of modules.dep

// drivers lists the files that an archive behind the initramfs needs so that the
// guest loads virtio drivers; none, if it cannot be done so.
func (p *planner) drivers(k *inspect.Kernel) []string {
	for _, c := range k.Compression {
		if !slices.Contains(appendable, c) {
			return nil
		}
	}
	dir := path.Join("/lib/modules", k.Version)
	b, err := p.t.ReadFile(path.Join(dir, "modules.dep"), maxDependencies)
	if err != nil {
		return nil
	}
	files := needed(string(b))
	if len(files) == 0 || !p.t.Exists(path.Join(dir, "modules.dep.bin")) {
		return nil
	}
	var all []string
	for _, name := range slices.Concat(files, indexes) {
		switch file := path.Join(dir, name); {
		case p.t.Exists(file):
			all = append(all, file)
		case slices.Contains(files, name):
			return nil // what is listed is not there
		}
	}
	return all
}

// needed are the files of boot drivers and of what they need, in modules.dep.
func needed(dep string) []string {
	var files []string
	for line := range strings.Lines(dep) {
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		name, isModule := initramfs.ModuleName(file)
		if !ok || !isModule || !slices.Contains(bootDrivers, name) {
			continue
		}
		for _, f := range append([]string{file}, strings.Fields(needs)...) {
			// A path of its own would be a module of another kernel.
			if !slices.Contains(files, f) && !path.IsAbs(f) && !strings.Contains(f, "..") {
				files = append(files, f)
			}
		}
	}
	return files
}
