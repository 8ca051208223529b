package inspect

import (
	"io"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/initramfs"
)

const (
	maxKernels   = 20
	maxInitramfs = 512 << 20 // bytes, packed
)

// drivers that the root and the network need under KVM.
var virtioModules = []string{"virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net"}

var kernelGlobs = []string{"/boot/vmlinuz-*", "/boot/vmlinux-*", "/boot/vmlinuz", "/boot/vmlinuz-linux", "/boot/*/*/linux", "/boot/efi/*/*/linux", "/usr/lib/modules/*/vmlinuz"}

// kernels lists the kernels, the newest first. Only its initramfs is looked
// into: unpacking is by far the dearest part of an inspection.
func (s *inspection) kernels() []Kernel {
	var all []Kernel
	seen := map[string]bool{}
	for _, g := range kernelGlobs {
		for _, f := range s.tree.Glob(g) {
			k := Kernel{Version: s.kernelVersion(f), File: f}
			if real, err := s.tree.Real(f); err != nil || seen[real] || seen[k.Version] && k.Version != "" || len(all) >= maxKernels {
				continue
			} else {
				seen[real], seen[k.Version] = true, true
			}
			k.Initramfs = s.initramfsOf(k)
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(a, b Kernel) int { return Newer(b.Version, a.Version) })
	for i := range all {
		s.drivers(&all[i], i == 0)
	}
	return all
}

// kernelVersion is the name of the folder of modules that belongs to a kernel.
func (s *inspection) kernelVersion(file string) string {
	base := path.Base(file)
	for _, prefix := range []string{"vmlinuz-", "vmlinux-"} {
		if v, ok := strings.CutPrefix(base, prefix); ok && s.tree.IsDir("/lib/modules/"+v) {
			return v
		}
	}
	if dir := path.Base(path.Dir(file)); s.tree.IsDir("/lib/modules/" + dir) {
		return dir
	}
	// Alpine and Arch name the kernel after its flavour.
	flavour := strings.TrimPrefix(strings.TrimPrefix(base, "vmlinux-"), "vmlinuz-")
	if flavour != "" && flavour[0] >= '0' && flavour[0] <= '9' {
		return flavour // its modules were removed
	}
	names, _ := s.tree.ReadDir("/lib/modules")
	for _, n := range names {
		if strings.HasSuffix(n, "-"+flavour) {
			return n
		}
		if b, err := s.tree.ReadFile("/lib/modules/"+n+"/pkgbase", maxConfig); err == nil && strings.TrimSpace(string(b)) == flavour {
			return n
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	return flavour
}

func (s *inspection) initramfsOf(k Kernel) string {
	dir, base := path.Dir(k.File), path.Base(k.File)
	suffix := strings.TrimPrefix(base, "vmlinuz-")
	for _, name := range []string{
		"/boot/initrd.img-" + k.Version, "/boot/initramfs-" + k.Version + ".img", "/boot/initrd-" + k.Version,
		"/boot/initrd-" + k.Version + ".img", "/boot/initramfs-" + suffix, "/boot/initramfs-" + suffix + ".img",
		dir + "/initrd", dir + "/initrd.img", "/boot/initrd",
	} {
		if s.tree.Mode(name).IsRegular() && s.tree.Exists(name) {
			return name
		}
	}
	return ""
}

// drivers finds where a kernel has its virtio drivers.
func (s *inspection) drivers(k *Kernel, unpack bool) {
	dir := "/lib/modules/" + k.Version
	builtin := s.moduleFiles(dir + "/modules.builtin")
	installed := s.moduleFiles(dir + "/modules.dep")
	var inside map[string]bool
	if k.Initramfs != "" && unpack {
		inside = s.readInitramfs(k, missing(builtin, installed), s.ruled(installed))
	}
	where := func(module string) string {
		switch {
		case builtin[module] != "":
			return "built-in"
		case inside[module]:
			return "initramfs"
		case installed[module] != "":
			return "modules"
		}
		return "missing"
	}
	k.Virtio = Virtio{PCI: where("virtio_pci"), Block: where("virtio_blk"), SCSI: where("virtio_scsi"), Net: where("virtio_net")}
}

// missing is what the initramfs is worth searching for: it holds nothing that
// is not installed.
func missing(builtin, installed map[string]string) []string {
	var wanted []string
	for _, m := range virtioModules {
		if builtin[m] == "" && (installed[m] != "" || len(installed) == 0) {
			wanted = append(wanted, m)
		}
	}
	return wanted
}

// readInitramfs gives the modules in an initramfs, of those that are wanted. It reads
// until it has met them all, or one of them in an initramfs for any machine, if the
// ruled ones are all: they came in together.
func (s *inspection) readInitramfs(k *Kernel, wanted []string, ruled map[string]bool) map[string]bool {
	n, err := s.tree.Open(k.Initramfs)
	if err != nil {
		k.Problem = err.Error()
		return nil
	}
	size := n.Stat().Size
	if size > maxInitramfs {
		k.Problem = "its initramfs is too large to be looked into"
		return nil
	}
	sum, err := initramfs.Read(io.NewSectionReader(n, 0, size), func(sum *initramfs.Summary) bool {
		met := func(m string) bool { return sum.Modules[m] }
		unmet := func(m string) bool { return !sum.Modules[m] }
		unruled := func(m string) bool { return !ruled[m] }
		if !slices.ContainsFunc(wanted, met) {
			return false
		}
		if sum.Most && !slices.ContainsFunc(wanted, unruled) {
			k.Ruled = slices.DeleteFunc(slices.Clone(wanted), met)
			return true
		}
		return !slices.ContainsFunc(wanted, unmet)
	})
	if err != nil {
		k.Problem = err.Error()
	}
	for _, m := range k.Ruled {
		sum.Modules[m] = true
	}
	k.InitramfsKind = sum.Kind
	for _, c := range sum.Compression {
		if c != "" && !slices.Contains(k.Compression, c) {
			k.Compression = append(k.Compression, c)
		}
	}
	return sum.Modules
}

// maxModules is how much of a list of modules is read, in bytes.
const maxModules = 4 << 20

// moduleFiles reads modules.builtin or modules.dep.
func (s *inspection) moduleFiles(file string) map[string]string {
	files := map[string]string{}
	b, err := s.tree.ReadFile(file, maxModules)
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if !strings.Contains(name, "virtio") {
			continue
		}
		if m, ok := initramfs.ModuleName(name); ok {
			files[m] = name
		}
	}
	return files
}
