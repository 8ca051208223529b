package survey

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
)

// Pick chooses among the disks: by number from 1 on, by the name in the archive, or by
// the machine of the OVF that has them; all of them for an empty choice. What there is not
// is NotFound.
func (s *Source) Pick(choice string) ([]Disk, error) {
	if choice == "" {
		return s.Disks, nil
	}
	if n, err := strconv.Atoi(choice); err == nil && n >= 1 && n <= len(s.Disks) {
		return s.Disks[n-1 : n], nil
	}
	var have []string
	for i, d := range s.Disks {
		if d.Member == choice {
			return s.Disks[i : i+1], nil
		}
		have = append(have, strings.TrimSpace(fmt.Sprint(i+1, " ", d.Member)))
	}
	if of := of(choice, s.Disks); len(of) > 0 {
		return of, nil
	}
	return nil, droveway.Errorf(droveway.NotFound, "the source has no disk %q: it has %s", choice, strings.Join(have, ", "))
}

// of are the disks of a machine.
func of(machine string, disks []Disk) (all []Disk) {
	for _, d := range disks {
		if d.Machine == machine {
			all = append(all, d)
		}
	}
	return all
}

// OpenMachine opens the source in a file, and those of its disks that are chosen, which end
// with it. Disks of several machines, which nobody should take for one, are Invalid.
func OpenMachine(path, choice string) (*Source, []*format.Image, error) {
	s, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	disks, err := s.machine(choice)
	if err != nil {
		_ = s.Close()
		return nil, nil, droveway.Errorf(droveway.KindOf(err), "image %s: %w", path, err)
	}
	return s, disks, nil
}

func (s *Source) machine(choice string) (disks []*format.Image, err error) {
	of, err := s.Pick(choice)
	if err != nil {
		return nil, err
	}
	if text := machinesText(of); text != "" {
		return nil, droveway.Errorf(droveway.Invalid, "%s: look at one of them: --disk MACHINE", text)
	}
	for _, d := range of {
		i, err := s.Read(d)
		if err != nil {
			return nil, err
		}
		disks = append(disks, i)
	}
	return disks, nil
}

// machinesText says which machine has which disks, if there are several machines.
func machinesText(disks []Disk) string {
	var machines, has []string
	for i, d := range disks {
		k := slices.Index(machines, d.Machine)
		if k < 0 && d.Machine != "" {
			k, machines, has = len(machines), append(machines, d.Machine), append(has, d.Machine+" has disk")
		}
		if k >= 0 {
			has[k] += fmt.Sprintf(" %d", i+1)
		}
	}
	if len(machines) < 2 {
		return ""
	}
	return fmt.Sprintf("the OVF describes %d machines: %s", len(machines), strings.Join(has, ", "))
}

// Names gives the names of n images of one import: the name itself or, if there
// are several, NAME-1 and so on. One that is too long is Invalid, and so is an import
// that makes no image.
func Names(name string, n int) ([]string, error) {
	if n < 1 {
		return nil, droveway.Errorf(droveway.Invalid, "import image %s: the source has no disk", name)
	}
	if n == 1 {
		return []string{name}, droveway.ValidName("image", name)
	}
	var names []string
	for i := range n {
		k := fmt.Sprintf("%s-%d", name, i+1)
		if err := droveway.ValidName("image", k); err != nil {
			return nil, err
		}
		names = append(names, k)
	}
	return names, nil
}

// Plan tells what an import under a name would make of the disks that are chosen.
func (s *Source) Plan(name, choice string) (droveway.ImportPlan, error) {
	disks, err := s.Pick(choice)
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	names, err := Names(name, len(disks))
	if err != nil {
		return droveway.ImportPlan{}, err
	}
	p := droveway.ImportPlan{Source: droveway.ImageSource{Format: s.Format, Bytes: s.Bytes}, Notes: s.Notes}
	for i, d := range disks {
		k := droveway.PlannedImage{Name: names[i], Member: d.Member, From: d.From, Format: d.Kept, Size: d.Size}
		if k.Format == "" {
			k.Format = droveway.QCOW2
		}
		p.Images = append(p.Images, k)
	}
	return p, nil
}
