package repair

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
)

// minFree is what a new initramfs needs, in bytes.
const minFree = 128 << 20

func (p *planner) checkOS() {
	switch o := &p.r.OS; o.Status {
	case identify.Ambiguous:
		p.find(Blocker, "the system is not clear", o.Why[0], "say which system it is, or give a disk with one system alone")
	case identify.Unsupported:
		p.find(Warning, "the system is not known", o.Why[0], "it can be imported as it is; nothing will be changed in it")
	case identify.Identified:
	}
}

func (p *planner) checkVolumes() {
	if h := p.r.System.Hibernated; h != "" {
		p.find(Blocker, "the system is hibernated", h, "start it where it came from and "+cmp.Or(p.windowsOnly(howToShutDown), "shut it down"))
	}
	for i := range p.r.Volumes {
		v := &p.r.Volumes[i]
		p.checkEnd(v)
		switch {
		case v.Encrypted && !v.Unlocked:
			p.find(Warning, v.Name+" is encrypted", "its contents cannot be seen without the key, and not be repaired", howToUnlock(v))
		case v.Dirty != "" && v.Kind == "ntfs":
			p.find(Blocker, v.Name+" is not clean", v.Dirty, "start Windows where it came from, run chkdsk /f if it asks for it, "+howToShutDown)
		case v.Dirty != "":
			p.find(Warning, v.Name+" is not clean", v.Dirty, "the guest repairs it at its first boot; better shut it down and copy again")
		case v.Missing > 0:
			p.find(Warning, fmt.Sprintf("%s lacks %d of its members", v.Name, v.Missing), "they are on other disks: it works without them, and nothing replaces a disk that fails", "add a disk to the machine, and to the array with mdadm --add")
		case v.Problem != "":
			p.find(Warning, v.Name+" cannot be read", v.Problem, "")
		}
	}
	if len(p.r.Notes) > 0 {
		p.find(Warning, "the disk is damaged or incomplete", p.r.Notes[0], "copy it again")
	}
}

// checkEnd judges a filesystem that goes on behind the end of its volume: no kernel
// mounts it.
func (p *planner) checkEnd(v *inspect.Volume) {
	if v.Lacks == 0 {
		return
	}
	level := Blocker
	if v.Mount == "" && v.Kind != "ntfs" {
		level = Warning
	}
	p.find(level, "the end of "+v.Name+" is missing", fmt.Sprintf("its filesystem has %d bytes more than are there", v.Lacks), "the image is truncated: copy it again, and compare its size and checksum")
}

// windowsOnly is empty where another system is.
func (p *planner) windowsOnly(text string) string {
	if p.r.System.Init != "windows" {
		return ""
	}
	return text
}

// howToUnlock says what to give.
func howToUnlock(v *inspect.Volume) string {
	how := "give its key with --luks-key FILE"
	if !strings.HasPrefix(v.Kind, "luks") {
		how = "decrypt it where it came from"
	}
	how += "; otherwise what is inside is imported as it is"
	if len(v.Tokens) > 0 {
		how += "; it was unlocked by " + strings.Join(v.Tokens, ", ") + ", which may not work here"
	}
	return how
}

func (p *planner) checkMachine() {
	y := &p.r.System
	if a := y.Architecture; a != "" && a != "x86_64" && a != "i686" {
		p.find(Blocker, "it is for "+a, "hosts run x86_64 machines", "")
	}
	if len(y.Firmware) == 0 {
		p.find(Warning, "no boot loader was found", "neither BIOS boot code nor an EFI system partition", "give the disk that the machine boots from")
	}
}

// checkDrivers judges the newest kernel: it is the one that boots.
func (p *planner) checkDrivers() {
	kernels := p.r.System.Kernels
	if len(kernels) == 0 {
		if p.linux() {
			p.find(Warning, "no kernel was found", "nothing below /boot and /lib/modules looks like one", "")
		}
		return
	}
	k := &kernels[0]
	switch {
	case k.Problem != "":
		p.find(Warning, "the initramfs of kernel "+k.Version+" cannot be read", k.Problem, "")
	case k.Virtio.Block == "missing" && k.Virtio.SCSI == "missing":
		p.find(Blocker, "kernel "+k.Version+" has no virtio drivers for disks", "they are neither built in nor among its modules", "install a kernel that has them")
	case lacksDrivers(k):
		p.checkFree()
	}
	if k.Virtio.Net == "missing" {
		p.find(Warning, "kernel "+k.Version+" has no virtio driver for the network", "the guest would see no network card", "install a kernel that has it")
	}
}

// lacksDrivers reports whether the kernel would find no root on a virtio disk with
// the initramfs it has.
func lacksDrivers(k *inspect.Kernel) bool {
	return !bootable(k.Virtio.Block) && !bootable(k.Virtio.SCSI) || !bootable(k.Virtio.PCI)
}

func bootable(where string) bool { return where == "built-in" || where == "initramfs" }

func (p *planner) linux() bool {
	return p.t.Exists("/lib/modules") || p.t.Exists("/etc/fstab")
}

func (p *planner) checkFree() {
	boot := "/"
	for _, v := range p.r.Volumes {
		if v.Mount == "/boot" {
			boot = "/boot"
		}
	}
	for _, v := range p.r.Volumes {
		if v.Mount == boot && v.Free >= 0 && v.Free < minFree {
			p.find(Warning, fmt.Sprintf("only %.1f MiB are free on %s", float64(v.Free)/(1<<20), v.Name), "a new initramfs may not fit", "remove old kernels first")
		}
	}
}

func (p *planner) checkMounts() {
	for _, m := range p.r.System.Fstab {
		if p.plan.Family == "freebsd" && (strings.HasPrefix(m.Spec, "/dev/da") || strings.HasPrefix(m.Spec, "/dev/ada")) {
			p.find(Warning, "fstab: "+m.Path+" is on "+m.Spec, "a virtio disk is called vtbd0 here", "name it by its label, as /dev/gpt/NAME, before")
		}
		if strings.HasPrefix(m.Path, "/") && (strings.Contains(m.Spec, ":/") || strings.HasPrefix(m.Kind, "nfs") || m.Kind == "cifs") {
			p.find(Warning, m.Path+" is on the network", m.Spec+" must be reachable from here, too", "")
		}
	}
}

func (p *planner) checkAddresses() {
	for _, a := range p.r.System.Network.Static {
		if !p.keeps(a.File) {
			continue
		}
		advice := "give the machine a network with it, or import it with --addresses dhcp"
		if dhcpEditor(path.Clean(a.File)) == nil {
			advice = "give the machine a network with it, or change it to DHCP before: this kind of file cannot be changed here"
		}
		p.find(Warning, fmt.Sprintf("%s keeps the fixed address %s", a.Interface, a.Address), "it is in "+a.File+", and works only if the new network has that subnet", advice)
	}
}
