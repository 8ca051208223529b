package droveway

import (
	"fmt"
	"strings"
	"testing"
)

// machine is one that is valid.
func machine() *Machine {
	return &Machine{
		Meta: Meta{Name: "web-1"},
		Spec: MachineSpec{CPUs: 2, MemoryMiB: 512, Disks: []Disk{{Name: "root", Image: "debian-12", Format: QCOW2}, {Name: "data", SizeMiB: 1024, Format: Raw}}},
	}
}

// blanks is a number of disks.
func blanks(n int) (all []Disk) {
	for i := range n {
		all = append(all, Disk{Name: fmt.Sprint("d", i), SizeMiB: 1, Format: Raw})
	}
	return all
}

func TestValidMachines(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*MachineSpec){
		"as it is":             func(*MachineSpec) {},
		"the least":            func(s *MachineSpec) { s.CPUs, s.MemoryMiB = 1, minMemoryMiB },
		"the most":             func(s *MachineSpec) { s.CPUs, s.MemoryMiB = maxCPUs, maxMemoryMiB },
		"as many disks as may": func(s *MachineSpec) { s.Disks = blanks(maxDisks) },
		"as many cards as may": func(s *MachineSpec) { s.NICs = make([]NIC, maxNICs) },
		"the largest disk":     func(s *MachineSpec) { s.Disks[1].SizeMiB = maxDiskMiB },
		"a grown image":        func(s *MachineSpec) { s.Disks[0].SizeMiB = 4096 },
	} {
		m := machine()
		edit(&m.Spec)
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInvalidMachines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		edit func(*Machine)
		says string // part of the message
	}{
		{func(m *Machine) { m.Name = "" }, "machine name is empty"},
		{func(m *Machine) { m.Name = "Web" }, `machine name "Web"`},
		{func(m *Machine) { m.Spec.CPUs = 0 }, "machine web-1: 0 CPUs: give 1 to 512"},
		{func(m *Machine) { m.Spec.CPUs = maxCPUs + 1 }, "513 CPUs"},
		{func(m *Machine) { m.Spec.MemoryMiB = minMemoryMiB - 1 }, "63 MiB of memory"},
		{func(m *Machine) { m.Spec.MemoryMiB = maxMemoryMiB + 1 }, "MiB of memory"},
		{func(m *Machine) { m.Spec.Disks = nil }, "0 disks"},
		{func(m *Machine) { m.Spec.Disks = blanks(maxDisks + 1) }, "17 disks"},
		{func(m *Machine) { m.Spec.NICs = make([]NIC, maxNICs+1) }, "9 network cards"},
		{func(m *Machine) { m.Spec.Disks[1].Name = "root" }, `two disks are called "root"`},
		{func(m *Machine) { m.Spec.Disks[1].Name = "a.b" }, `machine web-1: disk name "a.b"`},
		{func(m *Machine) { m.Spec.Disks[1].Name = "" }, "disk name is empty"},
		{func(m *Machine) { m.Spec.Disks[1].SizeMiB = 0 }, "disk data has size 0 and no image"},
		{func(m *Machine) { m.Spec.Disks[1].SizeMiB = -1 }, "disk data of -1 MiB"},
		{func(m *Machine) { m.Spec.Disks[1].SizeMiB = maxDiskMiB + 1 }, "disk data of"},
		{func(m *Machine) { m.Spec.Disks[1].Format = "vmdk" }, `disk format "vmdk"`},
		{func(m *Machine) { m.Spec.Disks[0].Format = "" }, `disk format ""`},
	} {
		m := machine()
		c.edit(m)
		err := m.Validate()
		if !Is(err, Invalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("error %v; want it invalid and to say %q", err, c.says)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for f, want := range map[Format]bool{Raw: true, QCOW2: true, "": false, "RAW": false, "vhdx": false} {
		if err := f.Validate(); (err == nil) != want || err != nil && !Is(err, Invalid) {
			t.Errorf("format %q: %v", f, err)
		}
	}
}

func TestJobStateEnded(t *testing.T) {
	t.Parallel()
	for s, want := range map[JobState]bool{JobPending: false, JobRunning: false, JobUnwinding: false, JobSucceeded: true, JobFailed: true} {
		if s.Ended() != want {
			t.Errorf("%s: ended is %v", s, !want)
		}
	}
}
