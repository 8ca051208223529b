package format

import (
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/ova"
)

// openOVA reads the first disk of an OVA, where it lies in the archive.
func openOVA(f *block.Cached) (*Image, error) {
	a, err := ova.Read(f, f.Size())
	if err != nil {
		return nil, err
	}
	if err := WholeDisks(a); err != nil {
		return nil, err
	}
	return OpenDisk(a, a.Disks[0])
}

// WholeDisks leaves in an archive the disks that are no parts of others, as are
// the extents of a VMDK that has several files. It is Invalid if that leaves none.
func WholeDisks(a *ova.Archive) error {
	var parts []string
	for _, d := range a.Disks {
		i, err := OpenDisk(a, d)
		if err != nil {
			continue // who opens it hears why
		}
		for _, p := range i.Parts {
			if p != d.Name { // a disk is no part of itself, whatever it says
				parts = append(parts, p)
			}
		}
		_ = i.Close()
	}
	a.Drop(parts)
	if len(a.Disks) == 0 {
		return droveway.Errorf(droveway.Invalid, "ova: every disk says that it is a part of another one, so none is whole: export the machine again")
	}
	return nil
}

// OpenDisk reads a disk where it lies in an archive. Closing it leaves the
// archive open.
func OpenDisk(a *ova.Archive, d ova.Disk) (*Image, error) {
	part := a.Open(d.Member)
	head := make([]byte, sector)
	if _, err := part.ReadAt(head, 0); err != nil || ova.Is(head) {
		return nil, droveway.Errorf(droveway.Invalid, "ova: member %q is not a disk", d.Name)
	}
	i, err := open(part, d.Size, members{a})
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "ova: member %q: %w", d.Name, err)
	}
	i.Inside = d.Name
	return i, nil
}

// members finds the extents of a VMDK in the archive where it lies.
type members struct{ a *ova.Archive }

func (n members) open(name string) (io.ReaderAt, int64, io.Closer, error) {
	m, ok := n.a.Find(name)
	if !ok {
		return nil, 0, nil, droveway.Errorf(droveway.Invalid, "vmdk: extent %q is not in the archive", name)
	}
	return n.a.Open(m), m.Size, nil, nil
}
