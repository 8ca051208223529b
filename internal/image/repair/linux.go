package repair

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/inspect"
)

// mounts changes fstab: names of disks become UUIDs, and what is not on this disk
// does not hold up the boot.
func (p *planner) mounts() {
	files := p.change("/etc/fstab", func(old string) string {
		return fstab(old, p.ownMounts(), p.uuid)
	})
	if len(files) > 0 {
		p.step(Step{Name: "fstab", What: "name filesystems by UUID, and let the boot go on without those of other disks", Why: "disks have other names here", Files: files})
	}
}

// mapped changes crypttab likewise, as far as its volumes are on this disk.
func (p *planner) mapped() {
	own := p.ownMapped()
	files := p.change("/etc/crypttab", func(old string) string {
		return eachLine(old, func(f []string) (int, string) {
			for _, m := range own {
				if id := p.uuid(m.Volume); len(f) > 1 && f[0] == m.Name && f[1] == m.Spec && inspect.DiskName(m.Spec) && id != "" {
					return 1, "UUID=" + id
				}
			}
			return -1, ""
		})
	})
	if len(files) > 0 {
		p.step(Step{Name: "crypttab", What: "name encrypted volumes by UUID", Why: "disks have other names here", Files: files})
	}
}

// uuid is that of a volume; empty if it has none.
func (p *planner) uuid(volume string) string {
	for i := range p.r.Volumes {
		if v := &p.r.Volumes[i]; v.Name == volume && volume != "" {
			return v.UUID
		}
	}
	return ""
}

// fstab gives the new contents of fstab. The mounts are what was read in it.
func fstab(old string, mounts []inspect.Mount, uuid func(volume string) string) string {
	return eachLine(old, func(f []string) (int, string) {
		if len(f) < 4 {
			return -1, ""
		}
		i := slices.IndexFunc(mounts, func(m inspect.Mount) bool { return lineOf(f, m) })
		if i < 0 {
			return -1, ""
		}
		m := mounts[i]
		id := uuid(m.Volume)
		switch {
		case m.Volume != "" && inspect.DiskName(m.Spec) && id != "":
			return 0, "UUID=" + id
		case m.Volume == "" && m.Path != "/" && onDisk(m):
			return 3, f[3] + ",nofail"
		}
		return -1, ""
	})
}

// lineOf reports whether the fields of a line of fstab are those of a mount.
func lineOf(f []string, m inspect.Mount) bool {
	return m.Spec == f[0] && strings.ReplaceAll(f[1], `\040`, " ") == m.Path
}

// onDisk reports whether a line of fstab needs a disk to be there at boot.
func onDisk(m inspect.Mount) bool {
	return (strings.HasPrefix(m.Spec, "/dev/") || strings.Contains(m.Spec, "=")) && !strings.Contains(m.Options, "nofail") && !strings.Contains(m.Options, "noauto")
}

var field = regexp.MustCompile(`\S+`)

// eachLine replaces one field of lines that are no comments: fn gives which one and
// by what, or -1. All else stays as it is, blanks too.
func eachLine(text string, fn func(fields []string) (int, string)) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			b.WriteString(line)
			continue
		}
		i, by := fn(f)
		if i >= 0 {
			at := field.FindAllStringIndex(line, i+1)[i]
			line = line[:at[0]] + by + line[at[1]:]
		}
		b.WriteString(line)
	}
	return b.String()
}

// initramfs puts virtio drivers into that of the newest kernel.
func (p *planner) initramfs() {
	if len(p.r.System.Kernels) == 0 {
		return
	}
	k := &p.r.System.Kernels[0]
	if k.Initramfs == "" || !lacksDrivers(k) || k.Virtio.Block == "missing" && k.Virtio.SCSI == "missing" {
		return
	}
	how, ok := p.initramfses[k.InitramfsKind]
	if !ok {
		p.find(Blocker, "the initramfs of kernel "+k.Version+" lacks virtio drivers", fmt.Sprintf("it is of the kind %q, for which there is no recipe", k.InitramfsKind), "make it anew with virtio_pci and virtio_blk before")
		return
	}
	s := Step{Name: "initramfs", What: "put virtio drivers into the initramfs of kernel " + k.Version, Why: "without them it finds no root on a virtio disk"}
	if how.File != "" {
		s.Files = p.change(how.File, how.add)
	}
	s.Run, s.Makes = [][]string{fill(how.Run, "${kernel}", k.Version, "${initramfs}", k.Initramfs)}, []string{k.Initramfs}
	if drivers := p.drivers(k); how.Append && len(drivers) > 0 {
		s.Files, s.Enough = append(s.Files, File{Path: k.Initramfs, Append: drivers}), true
	}
	p.step(s)
}

// add gives the file with the drivers in it.
func (i *recipe) add(old string) string {
	if i.Match != "" {
		re, err := regexp.Compile(i.Match)
		if err != nil {
			return old // a test compiles them all
		}
		return re.ReplaceAllString(old, i.With)
	}
	if old != "" && !strings.HasSuffix(old, "\n") {
		old += "\n"
	}
	return old + i.Text
}

// fallback puts a loader where UEFI looks without a boot entry.
func (p *planner) fallback() {
	y := &p.r.System
	if !slices.Contains(y.Firmware, "uefi") || y.Fallback {
		return
	}
	for _, esp := range []string{"/boot/efi", "/efi", "/boot"} {
		for _, name := range []string{"shimx64.efi", "grubx64.efi", "systemd-bootx64.efi"} {
			if found := p.t.Glob(esp + "/EFI/*/" + name); len(found) > 0 {
				p.step(Step{Name: "uefi-fallback", What: "put the boot loader at the fallback path of UEFI", Why: "the firmware's own boot entries stay behind with the old machine", Files: p.fallbackFiles(esp, found[0])})
				return
			}
		}
	}
}

// fallbackFiles copies the loader; shim looks for GRUB beside itself.
func (p *planner) fallbackFiles(esp, loader string) []File {
	files := []File{{Path: esp + "/EFI/BOOT/BOOTX64.EFI", From: loader}}
	if grub := path.Dir(loader) + "/grubx64.efi"; path.Base(loader) == "shimx64.efi" && p.t.Exists(grub) {
		files = append(files, File{Path: esp + "/EFI/BOOT/grubx64.efi", From: grub})
	}
	return files
}

// cards keeps the names of network cards, which follow the slot they are in.
func (p *planner) cards() {
	names := p.r.System.Network.Names
	if len(names) == 0 || p.plan.Family == "alpine" {
		return
	}
	s := Step{Name: "cards", What: "keep the names " + strings.Join(names, ", ") + " of network cards by their MAC addresses", Why: "cards are in other slots here, and would be renamed"}
	var rules strings.Builder
	for i, name := range names {
		if p.r.System.Init == "systemd" {
			s.Files = append(s.Files, p.change("/etc/systemd/network/10-droveway-"+name+".link", func(string) string {
				return fmt.Sprintf("[Match]\nMACAddress=${mac%d}\n\n[Link]\nName=%s\n", i+1, name)
			})...)
			continue
		}
		fmt.Fprintf(&rules, "SUBSYSTEM==\"net\", ACTION==\"add\", ATTR{address}==\"${mac%d}\", NAME=\"%s\"\n", i+1, name)
	}
	if rules.Len() > 0 {
		s.Files = p.change("/etc/udev/rules.d/70-persistent-net.rules", func(string) string { return rules.String() })
	}
	p.step(s)
}

// tools disables those of other hypervisors.
func (p *planner) tools() {
	for _, name := range p.r.System.Tools {
		t := p.toolset[name]
		if t.Keep != "" {
			continue
		}
		s := Step{Name: "tools", What: "disable " + name, Why: "it serves another hypervisor"}
		for _, service := range t.Services {
			p.disable(&s, service)
		}
		if len(s.Files)+len(s.Run) == 0 {
			p.find(Warning, name+" stays", "none of its services was found, so that nothing can be disabled", "")
			continue
		}
		p.step(s)
	}
}

func (p *planner) disable(s *Step, service string) {
	for _, dir := range []string{"/lib/systemd/system/", "/usr/lib/systemd/system/", "/etc/systemd/system/"} {
		if unit := service + ".service"; p.r.System.Init == "systemd" && p.t.Exists(dir+unit) {
			s.Files = append(s.Files, File{Path: "/etc/systemd/system/" + unit, Link: "/dev/null"})
			return
		}
	}
	if how := p.families[p.plan.Family].Disable; len(how) > 0 && p.t.Exists("/etc/init.d/"+service) {
		s.Run = append(s.Run, fill(how, "${service}", service))
	}
}

func (p *planner) relabel() {
	if mode := strings.ToLower(p.r.System.SELinux); mode == "enforcing" || mode == "permissive" {
		p.step(Step{Name: "selinux", What: "relabel files for SELinux at the first boot", Why: "files that a repair writes have no label", Files: []File{{Path: "/.autorelabel", Text: "\n"}}})
	}
}
