package inspect

import (
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/identify"
)

// Report is all that was found out.
type Report struct {
	Image     Image           `json:"image"`
	Disk      disk.Table      `json:"disk"`
	Volumes   []Volume        `json:"volumes"`
	OS        identify.Report `json:"os"`
	System    System          `json:"system"`
	Disks     []Drive         `json:"disks,omitempty"` // all of them, if there are several; Image and Disk are of the one that boots
	Notes     []string        `json:"notes,omitempty"` // what was damaged or left out
	ReadBytes int64           `json:"read_bytes"`
	TookMS    int64           `json:"took_ms"`

	opened []int // the keys that opened something
}

// Image is the file.
type Image struct {
	Format  string `json:"format"`
	Variant string `json:"variant,omitempty"`
	Member  string `json:"member,omitempty"` // of an OVA
	Size    int64  `json:"size"`             // bytes a guest sees
}

// Drive is one of several disks.
type Drive struct {
	Number int        `json:"number"` // from 1 on
	Image  Image      `json:"image"`
	Disk   disk.Table `json:"disk"`
	Boots  bool       `json:"boots,omitempty"`  // the machine boots from it
	Mounts []string   `json:"mounts,omitempty"` // what the guest has of it, whole or in part
}

// Volume is a partition, a logical volume or the whole disk.
type Volume struct {
	Name      string   `json:"name"`            // "p1", "vg/root", "md/…", "disk", "p1/open"; of several disks "disk2:p1"
	Disks     []int    `json:"disks,omitempty"` // that it is on, if there are several
	Kind      string   `json:"kind"`            // "ext4", "luks2", …
	UUID      string   `json:"uuid,omitempty"`
	Label     string   `json:"label,omitempty"`
	Size      int64    `json:"size"` // bytes
	Free      int64    `json:"free"` // bytes; -1: unknown
	Dirty     string   `json:"dirty,omitempty"`
	Lacks     int64    `json:"lacks,omitempty"` // bytes at the end that its filesystem should have
	Encrypted bool     `json:"encrypted,omitempty"`
	Missing   int      `json:"missing,omitempty"`  // members of the array that are not here
	Unlocked  bool     `json:"unlocked,omitempty"` // what is inside follows as NAME/open
	Tokens    []string `json:"tokens,omitempty"`   // other ways to unlock it, as "clevis"
	Mount     string   `json:"mount,omitempty"`    // where the guest has it
	Problem   string   `json:"problem,omitempty"`

	Member *Membership `json:"-"` // in an array of MD
	Needs  []int       `json:"-"` // of several disks those without which it cannot be read: of a mirror one is enough
}

// System is what the disk holds, beside its name.
type System struct {
	Root         string   `json:"root,omitempty"` // the volume
	Roots        []string `json:"roots,omitempty"`
	Architecture string   `json:"architecture,omitempty"`
	Firmware     []string `json:"firmware,omitempty"`      // "bios", "uefi"
	Fallback     bool     `json:"uefi_fallback,omitempty"` // a loader is where UEFI looks by itself
	SecureBoot   bool     `json:"secure_boot,omitempty"`
	BootLoader   string   `json:"boot_loader,omitempty"`
	Init         string   `json:"init,omitempty"`
	Kernels      []Kernel `json:"kernels,omitempty"`
	Network      Network  `json:"network"`
	Tools        []string `json:"guest_tools,omitempty"`
	CloudInit    bool     `json:"cloud_init,omitempty"`
	SELinux      string   `json:"selinux,omitempty"`
	Hibernated   string   `json:"hibernated,omitempty"`
	Fstab        []Mount  `json:"fstab,omitempty"`
	Crypttab     []Mapped `json:"crypttab,omitempty"`
	Encrypted    []string `json:"encrypted,omitempty"` // names of volumes

	Windows *WindowsDrivers `json:"windows_drivers,omitempty"`
}

// WindowsDrivers says which virtio drivers a Windows starts at boot, and whether
// it has one for the network.
type WindowsDrivers struct {
	Block bool `json:"viostor"`
	SCSI  bool `json:"vioscsi"`
	Net   bool `json:"netkvm"`

	Database bool `json:"driver_database"` // as Windows has from 8 on
}

// Kernel is an installed kernel.
type Kernel struct {
	Version       string   `json:"version"`
	File          string   `json:"file"`
	Initramfs     string   `json:"initramfs,omitempty"`
	InitramfsKind string   `json:"initramfs_kind,omitempty"` // "initramfs-tools", "dracut", …
	Compression   []string `json:"compression,omitempty"`
	Virtio        Virtio   `json:"virtio"`
	Ruled         []string `json:"ruled,omitempty"` // drivers that it has by the rules it was made by: they were not looked for
	Problem       string   `json:"problem,omitempty"`
}

// Virtio says where the drivers are that the guest needs to find its root here:
// "built-in", "initramfs", "modules" (installed, but not in the initramfs) or
// "missing".
type Virtio struct {
	PCI   string `json:"virtio_pci"`
	Block string `json:"virtio_blk"`
	SCSI  string `json:"virtio_scsi"`
	Net   string `json:"virtio_net"`
}

// Network is how the guest sets its network up.
type Network struct {
	Kinds  []string `json:"kinds,omitempty"` // "ifupdown", "netplan", …
	Names  []string `json:"names,omitempty"` // of the cards that are configured
	Static []Static `json:"static,omitempty"`
}

// Static is an address that does not come from DHCP.
type Static struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	File      string `json:"file"`
}

// Mount is a line of fstab.
type Mount struct {
	Spec    string `json:"spec"`
	Path    string `json:"path"`
	Kind    string `json:"kind"`
	Options string `json:"options,omitempty"`
	Volume  string `json:"volume,omitempty"` // that it names, if it is on this disk
}

// Mapped is a line of crypttab.
type Mapped struct {
	Name   string `json:"name"`
	Spec   string `json:"spec"`
	Volume string `json:"volume,omitempty"` // that it names, if it is on this disk
}
