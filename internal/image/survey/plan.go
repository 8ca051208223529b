package survey

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
)

// Pick chooses among the disks: by number from 1 on, or by the name in the
// archive; all of them for an empty choice. What there is not is NotFound.
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
	return nil, droveway.Errorf(droveway.NotFound, "the source has no disk %q: it has %s", choice, strings.Join(have, ", "))
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
