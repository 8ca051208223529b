package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// machineType is what guests run on, whichever QEMU runs them: an instance can
// send its memory to the same type only, and the plain name q35 means another
// type in each version. Every version since 7.2 has it.
const machineType = "pc-q35-7.2"

// Devices have fixed places on the PCI bus, so that both sides of a move agree
// and so that a guest finds its cards under the same names after a restart. The
// seed comes after the disks: the first disk is the guest's first.
const (
	slotDisk = 0x04
	slotNIC  = 0x14
	slotSeed = 0x1c
	slotRNG  = 0x1d

	maxDisks = slotNIC - slotDisk
	maxNICs  = slotSeed - slotNIC
)

// CardAddress is the place of a guest's network card on its PCI bus, as its kernel
// names it. The first card is 0; there is no place for more than a few.
func CardAddress(n int) (string, bool) {
	return fmt.Sprintf("0000:00:%02x.0", slotNIC+n), n >= 0 && n < maxNICs
}

func valid(spec hypervisor.Spec) error {
	switch {
	case spec.CPUs < 1:
		return droveway.Errorf(droveway.Invalid, "%d CPUs: give at least 1", spec.CPUs)
	case spec.MemoryMiB < 1:
		return droveway.Errorf(droveway.Invalid, "%d MiB of memory: give at least 1", spec.MemoryMiB)
	case len(spec.Disks) > maxDisks:
		return droveway.Errorf(droveway.Invalid, "%d disks: at most %d", len(spec.Disks), maxDisks)
	case len(spec.NICs) > maxNICs:
		return droveway.Errorf(droveway.Invalid, "%d network cards: at most %d", len(spec.NICs), maxNICs)
	case !filepath.IsAbs(spec.Dir):
		return droveway.Errorf(droveway.Invalid, "directory %q: give an absolute path", spec.Dir)
	}
	if fi, err := os.Stat(spec.Dir); err != nil || !fi.IsDir() {
		return droveway.Errorf(droveway.NotFound, "directory %s of the instance: it is not there", spec.Dir)
	}
	if spec.Vars != "" && !filepath.IsAbs(spec.Vars) {
		return droveway.Errorf(droveway.Invalid, "file %q for the firmware's variables: give an absolute path", spec.Vars)
	}
	return validDevices(spec)
}

func validDevices(spec hypervisor.Spec) error {
	seen := map[string]bool{}
	for _, d := range spec.Disks {
		if err := droveway.ValidName("disk", d.Name); err != nil {
			return err
		}
		if seen[d.Name] || !filepath.IsAbs(d.Path) || d.Size <= 0 {
			return droveway.Errorf(droveway.Invalid, "disk %s (%q, %d bytes): give a name of its own, an absolute path and a size", d.Name, d.Path, d.Size)
		}
		seen[d.Name] = true
		if err := d.Format.Validate(); err != nil {
			return err
		}
		if d.Filled != nil && (d.Format != droveway.QCOW2 || spec.Waits()) {
			return droveway.Errorf(droveway.Invalid, "disk %s: only a qcow2 file can be filled from an origin, and under a guest that does not wait", d.Name)
		}
	}
	for _, n := range spec.NICs {
		if n.TAP == nil && !n.Alone {
			return droveway.Errorf(droveway.Invalid, "network card %s has no tap device", n.ID)
		}
	}
	return nil
}

// Names of block nodes. They may have 31 characters, fewer than a disk's name
// can, so they are made from the disk's place.
//
//	blank   stands for a disk before TakeOver: nothing is opened
//	origin  the source's export
//	top     the mirror's filter above origin
//	local   the local file
//	both, part, write  see useBoth
func blankNode(n int) string  { return fmt.Sprintf("d%d-blank", n) }
func originNode(n int) string { return fmt.Sprintf("d%d-origin", n) }
func topNode(n int) string    { return fmt.Sprintf("d%d-top", n) }
func localNode(n int) string  { return fmt.Sprintf("d%d-local", n) }
func syncJob(n int) string    { return fmt.Sprintf("d%d-sync", n) }
func diskDevice(n int) string { return fmt.Sprintf("disk%d", n) }

// object is what QEMU takes as JSON: a block node, a device, a QMP argument.
type object map[string]any

func (o object) String() string {
	b, _ := json.Marshal(o) // plain data always marshals
	return string(b)
}

func fileNode(name string, d hypervisor.Disk) object {
	return object{
		"driver": d.Format, "node-name": name, "discard": "unmap",
		"file": object{"driver": "file", "filename": d.Path, "discard": "unmap"},
	}
}

func placeholder(n int, d hypervisor.Disk) object {
	return object{"driver": "null-co", "node-name": blankNode(n), "size": d.Size, "read-zeroes": true}
}

// arguments is QEMU's command line for a spec. Extra arguments come last.
func arguments(p *platform, spec hypervisor.Spec, ramKiB int64) []string {
	a := []string{
		"-name", "guest=" + spec.Machine + ",debug-threads=on",
		"-machine", machineType + ",accel=" + p.accel + ",graphics=off" + flashes(spec.Firmware),
		"-cpu", p.cpuArgument(spec.CPU), "-smp", strconv.Itoa(spec.CPUs), "-m", fmt.Sprintf("%dk", ramKiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1",
		"-rtc", "base=utc", "-msg", "timestamp=on", "-S",
		"-chardev", monitorArguments(monitorName), "-mon", "mode=control,chardev=" + monitorName,
		"-chardev", "file,id=console,append=on,path=" + consoleName, "-serial", "chardev:console",
		"-device", device("virtio-rng-pci", "rng", slotRNG, object{"rng": "entropy"}), "-object", "rng-builtin,id=entropy",
	}
	if spec.UUID != "" {
		a = append(a, "-uuid", spec.UUID)
	}
	if spec.Incoming {
		a = append(a, "-incoming", "defer")
	}
	a = append(a, p.uefi.arguments(spec)...)
	a = append(a, diskArguments(spec)...)
	a = append(a, seedArguments(spec.Seed)...)
	a = append(a, cardArguments(spec.NICs)...)
	return append(a, spec.Extra...)
}

func device(driver, id string, slot int, more object) string {
	o := object{"driver": driver, "id": id, "bus": "pcie.0", "addr": fmt.Sprintf("%#x", slot)}
	for k, v := range more {
		o[k] = v
	}
	return o.String()
}

func diskArguments(spec hypervisor.Spec) []string {
	var a []string
	for n, d := range spec.Disks {
		node, name := fileNode(localNode(n), d), localNode(n)
		if spec.Waits() || d.Filled != nil {
			node, name = placeholder(n, d), blankNode(n)
		}
		a = append(a, "-blockdev", node.String(), "-device", device("virtio-blk-pci", diskDevice(n), slotDisk+n, object{
			"drive": name, "bootindex": n, "serial": serial(d.Name), "werror": "stop", "rerror": "stop",
		}))
	}
	return a
}

// serial is what the guest sees as the disk's serial number: virtio has room for
// 20 bytes.
func serial(name string) string { return name[:min(len(name), 20)] }

func seedArguments(path string) []string {
	if path == "" {
		return nil
	}
	node := object{
		"driver": "raw", "node-name": "seed", "read-only": true,
		"file": object{"driver": "file", "filename": path, "read-only": true},
	}
	return []string{
		"-blockdev", node.String(),
		"-device", device("virtio-blk-pci", "seed", slotSeed, object{"drive": "seed", "serial": "seed"}),
	}
}

func cardArguments(nics []hypervisor.NIC) []string {
	var a []string
	fd := nextFD
	for n, c := range nics {
		id := fmt.Sprintf("nic%d", n)
		if c.Alone {
			a = append(a, "-netdev", "user,restrict=on,id="+id, "-object", "filter-dump,id="+id+"-dump,netdev="+id+",file="+hypervisor.Captured(c.ID))
		} else {
			a = append(a, "-netdev", fmt.Sprintf("tap,id=%s,fd=%d", id, fd))
			fd++
		}
		a = append(a, "-device",
			device("virtio-net-pci", "card"+strconv.Itoa(n), slotNIC+n, object{"netdev": id, "mac": c.MAC, "romfile": ""}))
	}
	return a
}
