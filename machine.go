package droveway

import (
	"net/netip"
	"time"
)

// MachineState is where a machine is in its life.
//
//	pending ─▶ placed ─▶ defining ─▶ running ◀─▶ paused
//	                         ▲          │
//	                         │          ▼
//	                       start ◀── stopped ─▶ (removed)
//
// unknown stands beside all of them: the machine's host is silent. failed means
// that it should run and could not be started; Message says why.
type MachineState string

// The states of a machine.
const (
	MachinePending  MachineState = "pending"
	MachinePlaced   MachineState = "placed"
	MachineDefining MachineState = "defining"
	MachineRunning  MachineState = "running"
	MachinePaused   MachineState = "paused"
	MachineStopped  MachineState = "stopped"
	MachineFailed   MachineState = "failed"
	MachineUnknown  MachineState = "unknown"
)

// Machine is a virtual machine of the fleet. It outlives its instances: each
// start, and each move, makes a new instance with a greater token.
type Machine struct {
	Meta
	Spec   MachineSpec   `json:"spec"`
	Status MachineStatus `json:"status"`
}

// MachineSpec is what is wanted.
type MachineSpec struct {
	CPUs      int      `json:"cpus"`
	CPU       CPU      `json:"cpu,omitempty"` // what its guests see; a new machine gets the baseline if empty
	MemoryMiB int64    `json:"memory_mib"`
	Firmware  Firmware `json:"firmware,omitempty"` // a new machine gets that of its first image if empty
	Disks     []Disk   `json:"disks"`
	NICs      []NIC    `json:"nics,omitempty"`
	Running   bool     `json:"running"`            // wanted: runs, or stands still
	Host      string   `json:"host,omitempty"`     // only here; empty: any
	Requires  []string `json:"requires,omitempty"` // capabilities its host must have, as "kvm" or "accelerator=kvm"
	SSHKeys   []string `json:"ssh_keys,omitempty"` // for the guest's default user
	UserData  string   `json:"user_data,omitempty"`
}

// Disk is one disk of a machine: a volume made from an image, or blank.
type Disk struct {
	Name  string `json:"name"`            // "root", "data", …: unique in the machine
	Image string `json:"image,omitempty"` // empty: blank
	// Origin is the name of one that the disk is filled from while its guest runs,
	// instead of an image. It is empty again once the disk is whole.
	Origin  string `json:"origin,omitempty"`
	From    string `json:"from,omitempty"` // where that origin was, given by the server
	SizeMiB int64  `json:"size_mib"`       // 0: as large as the image
	Format  Format `json:"format"`
}

// NIC is one network card of a machine. MAC and Address stay with the machine
// wherever it runs.
type NIC struct {
	Network string     `json:"network"`
	MAC     string     `json:"mac,omitempty"`    // given by the server when empty
	Address netip.Addr `json:"address,omitzero"` // given by the server when zero
}

// MachineStatus is what is known.
type MachineStatus struct {
	State MachineState `json:"state"`
	Host  string       `json:"host,omitempty"`  // where it is, or was last
	Token uint64       `json:"token,omitempty"` // fencing token of its newest instance
	Job   string       `json:"job,omitempty"`   // the job that holds it
	// Reserved is the host that keeps room for it while that job moves it there.
	Reserved string    `json:"reserved,omitempty"`
	Message  string    `json:"message,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Filling  *Filling  `json:"filling,omitempty"` // nil: its disks are whole
}

// Filling is how far the disks of a machine are that runs from an image which is not
// here yet.
type Filling struct {
	Progress
	Job   string `json:"job"`             // that follows it
	Waits string `json:"waits,omitempty"` // why it comes no further at the moment
}

// Origin is the first disk that is still filled from an origin; nil: all are whole.
func (m *Machine) Origin() *Disk {
	for i := range m.Spec.Disks {
		if m.Spec.Disks[i].Origin != "" {
			return &m.Spec.Disks[i]
		}
	}
	return nil
}

// Limits of a machine. They catch slips of the keyboard, not capacity.
const (
	maxCPUs      = 512
	minMemoryMiB = 64
	maxMemoryMiB = 16 << 20
	maxDiskMiB   = 64 << 20
	maxDisks     = 16
	maxNICs      = 8
)

// Validate checks a machine as a person wrote it.
func (m *Machine) Validate() error {
	if err := ValidName("machine", m.Name); err != nil {
		return err
	}
	s := &m.Spec
	switch {
	case s.CPUs < 1 || s.CPUs > maxCPUs:
		return Errorf(Invalid, "machine %s: %d CPUs: give 1 to %d", m.Name, s.CPUs, maxCPUs)
	case s.MemoryMiB < minMemoryMiB || s.MemoryMiB > maxMemoryMiB:
		return Errorf(Invalid, "machine %s: %d MiB of memory: give %d to %d", m.Name, s.MemoryMiB, minMemoryMiB, maxMemoryMiB)
	case len(s.Disks) == 0 || len(s.Disks) > maxDisks:
		return Errorf(Invalid, "machine %s: %d disks: give 1 to %d", m.Name, len(s.Disks), maxDisks)
	case len(s.NICs) > maxNICs:
		return Errorf(Invalid, "machine %s: %d network cards: at most %d", m.Name, len(s.NICs), maxNICs)
	}
	if err := s.CPU.Validate(); err != nil {
		return Errorf(Invalid, "machine %s: %w", m.Name, err)
	}
	if err := s.Firmware.Validate(); err != nil {
		return Errorf(KindOf(err), "machine %s: %w", m.Name, err)
	}
	return s.validDisks(m.Name)
}

func (s *MachineSpec) validDisks(machine string) error {
	seen := map[string]bool{}
	for _, d := range s.Disks {
		if err := d.validate(machine); err != nil {
			return err
		}
		if seen[d.Name] {
			return Errorf(Invalid, "machine %s: two disks are called %q: give each its own name", machine, d.Name)
		}
		seen[d.Name] = true
	}
	return nil
}

func (d *Disk) validate(machine string) error {
	if err := ValidName("disk", d.Name); err != nil {
		return Errorf(Invalid, "machine %s: %w", machine, err)
	}
	switch {
	case d.Image != "" && d.Origin != "":
		return Errorf(Invalid, "machine %s: disk %s has an image and an origin: give one of them", machine, d.Name)
	case d.Origin != "" && d.Format != QCOW2:
		return Errorf(Invalid, "machine %s: disk %s is %s: what is filled while it is used keeps account of it, which only format qcow2 can", machine, d.Name, d.Format)
	case d.SizeMiB == 0 && d.Image == "" && d.Origin == "":
		return Errorf(Invalid, "machine %s: disk %s has size 0 and no image: give one of them", machine, d.Name)
	case d.SizeMiB < 0 || d.SizeMiB > maxDiskMiB:
		return Errorf(Invalid, "machine %s: disk %s of %d MiB: give 1 to %d", machine, d.Name, d.SizeMiB, maxDiskMiB)
	}
	return d.Format.Validate()
}

// VolumeName is the name of the volume behind a machine's disk.
func VolumeName(machine, disk string) string { return machine + "." + disk }
