package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/identify"
)

// minFree is what a repair needs for a new initramfs, in bytes.
const minFree = 128 << 20

func (s *inspection) find(level Level, what, why, advice string) {
	s.report.Preflight = append(s.report.Preflight, Finding{level, what, why, advice})
}

// preflight says before anything is copied what a repair would change and what
// will not work.
func (s *inspection) preflight() {
	s.checkOS()
	s.checkVolumes()
	if s.tree == nil {
		return
	}
	s.checkMachine()
	if s.windows != nil {
		s.checkWindows()
	} else {
		s.checkDrivers()
	}
	s.checkFstab()
	s.checkNetwork()
	s.checkTools()
	if strings.EqualFold(s.report.System.SELinux, "enforcing") || strings.EqualFold(s.report.System.SELinux, "permissive") {
		s.find(Change, "relabel files for SELinux at the first boot", "files that a repair writes have no label", "")
	}
}

func (s *inspection) checkOS() {
	o := &s.report.OS
	switch o.Status {
	case identify.Ambiguous:
		s.find(Blocker, "the system is not clear", o.Why[0], "say which system it is, or give a disk with one system alone")
	case identify.Unsupported:
		s.find(Warning, "the system is not known", o.Why[0], "it can be imported as it is; nothing will be changed in it")
	case identify.Identified:
	}
}

func (s *inspection) checkVolumes() {
	if h := s.report.System.Hibernated; h != "" {
		s.find(Blocker, "the system is hibernated", h, "start it where it came from and shut it down")
	}
	for _, v := range s.volumes {
		switch {
		case v.Encrypted && !v.Unlocked:
			s.find(Warning, v.Name+" is encrypted", "its contents cannot be seen without the key", v.howToUnlock())
		case v.Dirty != "" && v.Kind == "ntfs":
			s.find(Blocker, v.Name+" is not clean", v.Dirty, "start Windows, turn fast startup off and shut it down")
		case v.Dirty != "":
			s.find(Warning, v.Name+" is not clean", v.Dirty, "the guest repairs it at its first boot; better shut it down and copy again")
		case v.Problem != "":
			s.find(Warning, v.Name+" cannot be read", v.Problem, "")
		}
	}
	if len(s.report.Notes) > 0 {
		s.find(Warning, "the disk is damaged or incomplete", s.report.Notes[0], "copy it again")
	}
}

func (s *inspection) checkMachine() {
	y := &s.report.System
	if a := y.Architecture; a != "" && a != "x86_64" && a != "i686" {
		s.find(Blocker, "it is for "+a, "hosts run x86_64 machines", "")
	}
	if len(y.Firmware) == 0 {
		s.find(Warning, "no boot loader was found", "neither BIOS boot code nor an EFI system partition", "give the disk that the machine boots from")
	}
	if slices.Equal(y.Firmware, []string{"uefi"}) {
		s.find(Change, "boot with UEFI", "the disk has no boot code for a BIOS", "")
		if len(s.tree.Glob("/boot/efi/EFI/[bB][oO][oO][tT]/*")) == 0 && len(s.tree.Glob("/efi/EFI/[bB][oO][oO][tT]/*")) == 0 && len(s.tree.Glob("/boot/EFI/[bB][oO][oO][tT]/*")) == 0 {
			s.find(Change, "put the boot loader at the fallback path of UEFI", "the firmware's own boot entries stay behind with the old machine", "")
		}
	}
}

// checkWindows says what Windows lacks: nothing is put into it yet.
func (s *inspection) checkWindows() {
	d := s.report.System.Windows
	switch {
	case d == nil:
		s.find(Warning, "the drivers of this Windows cannot be seen", "its SYSTEM hive cannot be read", "")
	case !d.Block && !d.SCSI:
		s.find(Blocker, "Windows has no virtio driver that starts at boot", "it would stop with INACCESSIBLE_BOOT_DEVICE on a virtio disk", "install the virtio drivers before, or run the machine with a SATA disk")
	case !d.Net:
		s.find(Warning, "Windows has no virtio driver for the network", "it would see no network card", "install the virtio drivers before, or use an e1000 card")
	}
}

// checkDrivers judges the newest kernel: it is the one that boots.
func (s *inspection) checkDrivers() {
	kernels := s.report.System.Kernels
	if len(kernels) == 0 {
		if s.linux() {
			s.find(Warning, "no kernel was found", "nothing below /boot and /lib/modules looks like one", "")
		}
		return
	}
	k := kernels[0]
	switch {
	case k.Problem != "":
		s.find(Warning, "the initramfs of kernel "+k.Version+" cannot be read", k.Problem, "")
	case k.Virtio.Block == "missing" && k.Virtio.SCSI == "missing":
		s.find(Blocker, "kernel "+k.Version+" has no virtio drivers for disks", "they are neither built in nor among its modules", "install a kernel that has them, or run the machine with a SATA disk")
	case !bootable(k.Virtio.Block) && !bootable(k.Virtio.SCSI) || !bootable(k.Virtio.PCI):
		s.find(Change, "make the initramfs of kernel "+k.Version+" anew with virtio drivers", "without them it finds no root on a virtio disk", "")
		s.checkFree()
	}
	if k.Virtio.Net == "missing" {
		s.find(Warning, "kernel "+k.Version+" has no virtio driver for the network", "the guest would see no network card", "use an e1000 card")
	}
}

func bootable(where string) bool { return where == "built-in" || where == "initramfs" }

func (s *inspection) linux() bool {
	return s.tree.Exists("/lib/modules") || s.tree.Exists("/etc/fstab")
}

func (s *inspection) checkFree() {
	boot := "/"
	for _, v := range s.volumes {
		if v.Mount == "/boot" {
			boot = "/boot"
		}
	}
	for _, v := range s.volumes {
		if v.Mount == boot && v.Free >= 0 && v.Free < minFree {
			s.find(Warning, fmt.Sprintf("only %d MiB are free on %s", v.Free>>20, v.Name), "a new initramfs may not fit", "remove old kernels first")
		}
	}
}

func (s *inspection) checkFstab() {
	for _, m := range s.report.System.Fstab {
		switch {
		case !strings.HasPrefix(m.Path, "/") && m.Kind != "swap", m.Kind == "proc" || m.Kind == "sysfs" || m.Kind == "tmpfs" || m.Kind == "devpts":
		case strings.Contains(m.Spec, ":") || m.Kind == "nfs" || m.Kind == "cifs":
			s.find(Warning, m.Path+" is on the network", m.Spec+" must be reachable from here, too", "")
		case diskName.MatchString(m.Spec) && m.Volume != "":
			s.find(Change, "fstab: "+m.Spec+" becomes a UUID", "disks have other names here", "")
		case m.Volume == "" && needsVolume(m):
			s.find(Change, "fstab: "+m.Path+" gets nofail", m.Spec+" is not on this disk", "import the other disks, too")
		}
	}
}

func needsVolume(m Mount) bool {
	return (strings.HasPrefix(m.Spec, "/dev/") || strings.Contains(m.Spec, "=")) && !strings.Contains(m.Options, "nofail") && !strings.Contains(m.Options, "noauto")
}

func (s *inspection) checkNetwork() {
	n := &s.report.System.Network
	for _, a := range n.Static {
		s.find(Warning, fmt.Sprintf("%s has the fixed address %s", a.Interface, a.Address), "in "+a.File+": it works only if the new network has that subnet", "ask for DHCP, or give the machine this address")
	}
	if s.linux() && len(n.Kinds) > 0 {
		s.find(Change, "keep the names of network cards by their MAC addresses", "cards are on other slots here, and would be renamed", "")
	}
}

func (s *inspection) checkTools() {
	for _, t := range s.report.System.Tools {
		switch t {
		case "qemu-guest-agent", "google-guest-agent", "amazon-ssm-agent", "walinuxagent":
		default:
			s.find(Change, "disable "+t, "it serves another hypervisor", "")
		}
	}
}
