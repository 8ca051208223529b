package inspect

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

// root is a filesystem that looks like the root of a system.
type root struct {
	v       *volume
	subvol  string
	node    filesystem.Node
	score   int
	windows bool
}

// What roots have; the more of it, the more of a root.
var (
	unixSigns    = []string{"/etc/fstab", "/etc/passwd", "/etc/os-release", "/usr/lib/os-release", "/etc/redhat-release", "/etc/debian_version", "/sbin/init", "/bin/sh", "/lib/modules", "/usr/bin", "/var/lib", "/etc/rc.conf", "/boot/kernel/kernel"}
	windowsSigns = []string{"/Windows/System32/config/SOFTWARE", "/Windows/System32/ntoskrnl.exe", "/WINNT/system32/config/software"}
)

// minSigns tells a root from a separate /usr or /var.
const minSigns = 3

// findRoots looks for roots, the best first. In Btrfs the default subvolume
// counts, then the usual names: the many others are snapshots.
func (s *inspection) findRoots() []root {
	var roots []root
	for _, v := range s.volumes {
		if v.found == nil {
			continue
		}
		for _, subvol := range subvolumesOf(v) {
			r, ok := s.tryRoot(v, subvol)
			if ok {
				roots = append(roots, r)
				break
			}
		}
	}
	slices.SortStableFunc(roots, func(a, b root) int { return cmp.Compare(b.score, a.score) })
	for _, r := range roots {
		s.report.System.Roots = append(s.report.System.Roots, r.name())
	}
	return roots
}

func subvolumesOf(v *volume) []string {
	if _, ok := v.found.(filesystem.Subvolumes); ok {
		return []string{"", "@", "root", "@rootfs", "@/.snapshots/1/snapshot"}
	}
	return []string{""}
}

func (r *root) name() string {
	if r.subvol == "" {
		return r.v.Name
	}
	return r.v.Name + "[" + r.subvol + "]"
}

func (s *inspection) tryRoot(v *volume, subvol string) (root, bool) {
	node, err := openSubvolume(v.found, subvol)
	if err != nil {
		if subvol == "" {
			v.Problem = err.Error()
		}
		return root{}, false
	}
	r := root{v: v, subvol: subvol, node: node}
	t := filesystem.NewTree(node, v.found.Info().FoldCase)
	for _, sign := range windowsSigns {
		if t.Exists(sign) {
			r.windows = true
			r.score += minSigns
		}
	}
	if !r.windows && t.IsDir("/etc") {
		for _, sign := range unixSigns {
			if _, err := t.Lstat(sign); err == nil {
				r.score++
			}
		}
	}
	return r, r.score >= minSigns
}

func openSubvolume(v filesystem.Volume, name string) (filesystem.Node, error) {
	if sub, ok := v.(filesystem.Subvolumes); ok {
		return sub.Subvolume(name)
	}
	return v.Root()
}

// openRoot makes the tree of the best root and joins to it what its fstab names.
func (s *inspection) openRoot(roots []root) {
	r := roots[0]
	s.tree = filesystem.NewTree(r.node, r.v.found.Info().FoldCase)
	s.report.System.Root = r.name()
	r.v.Mount = "/"
	s.halve()
	if r.windows {
		s.openWindows()
		return
	}
	b, err := s.tree.ReadFile("/etc/fstab", maxConfig)
	if err != nil {
		return
	}
	s.report.System.Fstab = parseFstab(string(b))
	s.nameUnlocked()
	s.foresee()
	for i := range s.report.System.Fstab {
		s.join(&s.report.System.Fstab[i], r)
	}
}

// usrPartitions are those that CoreOS and its heirs mount at /usr without fstab;
// their root is empty until the first boot.
var usrPartitions = []string{"USR-A", "USR-B"}

// openUSR makes a tree of such a partition, or adds it to the one that is there.
func (s *inspection) openUSR() {
	if s.tree != nil && (s.windows != nil || s.tree.Exists("/usr/lib/os-release")) {
		return
	}
	for _, v := range s.volumes {
		if v.part == nil || v.found == nil || !slices.Contains(usrPartitions, v.part.Name) {
			continue
		}
		usr, err := v.found.Root()
		if err != nil {
			v.Problem = err.Error()
			continue
		}
		if s.tree == nil {
			s.tree = filesystem.NewTree(filesystem.Empty{}, false)
			s.report.System.Root = "(made at the first boot)"
		}
		s.tree.Mount("/usr", usr, false)
		v.Mount = "/usr"
		return
	}
}

// maxConfig is how much of a configuration file is read, in bytes.
const maxConfig = 256 << 10

const maxMounts = 200

// parseFstab reads fstab(5).
func parseFstab(text string) []Mount {
	var all []Mount
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || len(all) >= maxMounts {
			continue
		}
		m := Mount{Spec: f[0], Path: unescape(f[1]), Kind: f[2]}
		if len(f) > 3 {
			m.Options = f[3]
		}
		all = append(all, m)
	}
	return all
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescape turns \040 into a space.
func unescape(s string) string {
	return octal.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[1:], 8, 8)
		if err != nil {
			return m
		}
		return string(rune(n))
	})
}

// join mounts what a line of fstab names, if it is on this disk.
func (s *inspection) join(m *Mount, r root) {
	v := s.bySpec(m.Spec)
	if v == nil {
		return
	}
	m.Volume = v.Name
	at := path.Clean(m.Path)
	subvol := subvolOption(m.Options)
	if !strings.HasPrefix(m.Path, "/") || v.found == nil || at == "/" && subvol == "" {
		return
	}
	node, err := openSubvolume(v.found, subvol)
	if err != nil {
		s.note("%s of fstab cannot be joined: %v", at, err)
		return
	}
	if at == "/" && v != r.v {
		s.note("fstab calls %s the root, but %s was taken", v.Name, r.name())
		return
	}
	s.tree.Mount(at, node, v.found.Info().FoldCase)
	if v.Mount == "" {
		v.Mount = at
	}
}

func subvolOption(options string) string {
	for o := range strings.SplitSeq(options, ",") {
		if name, ok := strings.CutPrefix(o, "subvol="); ok {
			return strings.Trim(name, "/")
		}
		if id, ok := strings.CutPrefix(o, "subvolid="); ok {
			return "#" + id
		}
	}
	return ""
}

// DiskName reports whether a name is that of a partition of some disk, which
// changes with the machine.
func DiskName(spec string) bool { return diskName.MatchString(spec) }

// diskName is the name of a partition: that of its disk, and a number.
var diskName = regexp.MustCompile(`^/dev/([shv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+p|mmcblk\d+p)(\d+)$`)

var firstDisks = []string{"sda", "hda", "vda", "xvda", "nvme0n1p", "mmcblk0p"}

// ours reports whether a name of fstab means this disk: it is the one that the
// root is on, or else the first one.
func (s *inspection) ours(disk string) bool {
	if root := s.rootName(); root != "" {
		return root == disk
	}
	return slices.Contains(firstDisks, disk)
}

func (s *inspection) bySpec(spec string) *volume {
	key, value, tagged := strings.Cut(spec, "=")
	value = strings.Trim(value, `"`)
	if p, ok := strings.CutPrefix(spec, "/dev/disk/by-"); ok {
		key, value, tagged = strings.Cut(p, "/")
	}
	var found *volume
	for _, v := range s.volumes {
		if tagged && v.tagged(strings.ToUpper(key), value) || slices.Contains(v.alias, spec) {
			if found == nil || v.drive != nil && v.drive.number == s.half { // what is no mirror may be there twice beside one
				found = v
			}
		}
	}
	if found != nil {
		return found
	}
	if m := diskName.FindStringSubmatch(spec); m != nil {
		return s.partition(s.driveOf(m[1]), m[2])
	}
	return nil
}

// tagged reports whether a volume has a tag. A member of an array has the name of that,
// which may be the label of the filesystem in it, and udev gives it none.
func (v *volume) tagged(key, value string) bool {
	if value == "" || v.Kind == probe.MD && !strings.HasPrefix(key, "PART") {
		return false
	}
	switch key {
	case "UUID":
		return strings.EqualFold(v.UUID, value)
	case "LABEL":
		return v.Label == value
	case "PARTUUID":
		return v.part != nil && strings.EqualFold(v.part.UUID, value)
	case "PARTLABEL":
		return v.part != nil && v.part.Name == value
	}
	return false
}
