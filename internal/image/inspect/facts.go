package inspect

import (
	"encoding/binary"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/droveway/droveway/internal/image/disk"
)

// facts looks for what matters beside the system's name.
func (s *inspection) facts() {
	y := &s.report.System
	y.Architecture = s.architecture()
	y.Init = s.init()
	y.Kernels = s.kernels()
	y.Network = s.network()
	y.Tools = s.tools()
	y.CloudInit = s.tree.Exists("/etc/cloud/cloud.cfg")
	y.SELinux = s.selinux()
}

// programs that are there in nearly every system; the first gives the
// architecture away.
var programs = []string{"/bin/sh", "/bin/bash", "/bin/ls", "/usr/bin/env", "/bin/busybox", "/usr/bin/coreutils", "/sbin/init", "/rescue/sh", "/usr/lib/systemd/systemd", "/lib64/ld-linux-x86-64.so.2"}

func (s *inspection) architecture() string {
	for _, p := range programs {
		b, err := s.tree.ReadFile(p, 64)
		if err != nil || len(b) < 20 || string(b[:4]) != "\x7fELF" {
			continue
		}
		order := binary.ByteOrder(binary.LittleEndian)
		if b[5] == 2 {
			order = binary.BigEndian
		}
		return elfMachine(order.Uint16(b[18:]), b[4] == 2, b[5] == 2)
	}
	return ""
}

// elfMachine names e_machine of the ELF specification.
func elfMachine(m uint16, wide, big bool) string {
	switch m {
	case 3:
		return "i686"
	case 62:
		return "x86_64"
	case 40:
		return "arm"
	case 183:
		return "aarch64"
	case 21:
		if big {
			return "ppc64"
		}
		return "ppc64le"
	case 22:
		return "s390x"
	case 243:
		if wide {
			return "riscv64"
		}
		return "riscv32"
	}
	return "unknown"
}

func (s *inspection) init() string {
	if real, err := s.tree.Real("/sbin/init"); err == nil {
		switch base := path.Base(real); base {
		case "systemd", "busybox", "runit-init", "openrc-init":
			return strings.TrimSuffix(base, "-init")
		}
	}
	for _, k := range []struct{ path, name string }{
		{"/sbin/initctl", "upstart"},
		{"/sbin/openrc", "openrc"},
		{"/etc/rc.d/rc.subr", "rc"},
		{"/etc/rc.subr", "rc"},
		{"/etc/inittab", "sysvinit"},
		{"/usr/lib/systemd/systemd", "systemd"},
		{"/lib/systemd/systemd", "systemd"},
	} {
		if s.tree.Exists(k.path) {
			return k.name
		}
	}
	return ""
}

func (s *inspection) selinux() string {
	b, err := s.tree.ReadFile("/etc/selinux/config", maxConfig)
	if err != nil {
		return ""
	}
	if v := lookUp(string(b), "SELINUX"); len(v) > 0 {
		return v[0]
	}
	return ""
}

// guestTools are programs that belong to another hypervisor.
var guestTools = []struct{ name, glob string }{
	{"open-vm-tools", "/usr/bin/vmtoolsd"},
	{"vmware-tools", "/usr/bin/vmware-toolbox-cmd"},
	{"vmware-tools", "/etc/vmware-tools/locations"},
	{"virtualbox-guest-additions", "/usr/sbin/VBoxService"},
	{"virtualbox-guest-additions", "/opt/VBoxGuestAdditions-*"},
	{"hyperv-daemons", "/usr/sbin/hv_kvp_daemon"},
	{"hyperv-daemons", "/usr/sbin/hypervkvpd"},
	{"xe-guest-utilities", "/usr/sbin/xe-daemon"},
	{"parallels-tools", "/usr/bin/prltoolsd"},
	{"qemu-guest-agent", "/usr/bin/qemu-ga"},
	{"qemu-guest-agent", "/usr/sbin/qemu-ga"},
	{"walinuxagent", "/usr/sbin/waagent"},
	{"google-guest-agent", "/usr/bin/google_guest_agent"},
	{"amazon-ssm-agent", "/usr/bin/amazon-ssm-agent"},
}

func (s *inspection) tools() []string {
	var found []string
	for _, t := range guestTools {
		if len(s.tree.Glob(t.glob)) > 0 && !slices.Contains(found, t.name) {
			found = append(found, t.name)
		}
	}
	return found
}

// firmware tells how the disk can boot: by what a BIOS would run, and by what
// UEFI would find.
func (s *inspection) firmware() {
	y := &s.report.System
	bios, uefi := biosBoots(&s.report.Disk), false
	for _, p := range s.report.Disk.Parts {
		uefi = uefi || p.ESP()
	}
	if s.tree != nil && (len(s.tree.Glob("/boot/efi/EFI/*/*.efi")) > 0 || len(s.tree.Glob("/efi/EFI/*/*.efi")) > 0) {
		uefi = true
	}
	if bios {
		y.Firmware = append(y.Firmware, "bios")
	}
	if uefi {
		y.Firmware = append(y.Firmware, "uefi")
		y.SecureBoot, y.Fallback = s.shim(), s.fallback()
	}
	y.BootLoader = s.bootLoader()
}

func biosBoots(t *disk.Table) bool {
	if c := t.BootCode; c == "none" || c == "" {
		return false
	}
	if t.Kind == "gpt" {
		for _, p := range t.Parts {
			if p.Type == bootPartition || p.Boot {
				return true
			}
		}
		return false
	}
	return t.Kind == "mbr" || t.BootCode != "unknown"
}

// bootPartition is where GRUB lies on GPT.
const bootPartition = "21686148-6449-6e6f-744e-656564454649"

// shim is the signed loader that secure boot needs.
func (s *inspection) shim() bool {
	return s.tree != nil && (len(s.tree.Glob("/boot/efi/EFI/*/shim*.efi")) > 0 || len(s.tree.Glob("/usr/lib/shim/*.efi.signed")) > 0)
}

// fallback is the loader that UEFI finds without a boot entry in the firmware.
func (s *inspection) fallback() bool {
	if s.tree == nil {
		return false
	}
	for _, esp := range []string{"/boot/efi", "/efi", "/boot"} {
		if len(s.tree.Glob(esp+"/EFI/[bB][oO][oO][tT]/[bB][oO][oO][tT]*")) > 0 {
			return true
		}
	}
	return false
}

var loaders = []struct{ name, glob string }{
	{"grub2", "/boot/grub/grub.cfg"},
	{"grub2", "/boot/grub2/grub.cfg"},
	{"grub2", "/boot/efi/EFI/*/grub.cfg"},
	{"grub-legacy", "/boot/grub/menu.lst"},
	{"grub-legacy", "/boot/grub/grub.conf"},
	{"systemd-boot", "/boot/loader/loader.conf"},
	{"systemd-boot", "/efi/loader/loader.conf"},
	{"systemd-boot", "/boot/efi/loader/loader.conf"},
	{"extlinux", "/boot/extlinux.conf"},
	{"extlinux", "/boot/extlinux/extlinux.conf"},
	{"syslinux", "/boot/syslinux/syslinux.cfg"},
	{"syslinux", "/syslinux.cfg"},
	{"lilo", "/etc/lilo.conf"},
	{"freebsd", "/boot/loader"},
	{"windows", "/bootmgr"},
	{"ntldr", "/ntldr"},
}

func (s *inspection) bootLoader() string {
	if s.tree == nil {
		return ""
	}
	for _, l := range loaders {
		if len(s.tree.Glob(l.glob)) > 0 {
			return l.name
		}
	}
	return ""
}

var digits = regexp.MustCompile(`\d+`)

// Newer compares version numbers part by part: above zero if a is the newer one.
func Newer(a, b string) int {
	x, y := digits.FindAllString(a, -1), digits.FindAllString(b, -1)
	for i := range min(len(x), len(y)) {
		p, q := strings.TrimLeft(x[i], "0"), strings.TrimLeft(y[i], "0")
		if len(p) != len(q) {
			return len(p) - len(q)
		}
		if c := strings.Compare(p, q); c != 0 {
			return c
		}
	}
	return len(x) - len(y)
}
