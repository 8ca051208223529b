package inspect

import (
	"fmt"
	"io"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

// findVolumes lists what the disks are divided into: partitions, or the whole
// disk, then the members of arrays, then logical volumes.
func (s *inspection) findVolumes() {
	for _, d := range s.drives {
		s.divide(d)
	}
	s.openArrays()
	s.unlock()
	s.openGroups()
	s.unlock()
}

func (s *inspection) divide(d *drive) {
	if d.table.Kind == "none" {
		s.addOn(d, "disk", d.r, d.size, nil)
	}
	for i := range d.table.Parts {
		p := &d.table.Parts[i]
		if p.Size < 4096 || extendedType(p.Type) {
			continue
		}
		s.addOn(d, fmt.Sprintf("p%d", p.Number), block.Section(d.r, p.Start, p.Size), p.Size, p)
	}
}

// addOn adds a volume that is a part of a disk. If there are several, its name says of
// which.
func (s *inspection) addOn(d *drive, name string, r io.ReaderAt, size int64, p *disk.Part) {
	v := s.add(d.prefix+name, r, size, p)
	if v == nil {
		return
	}
	v.drive = d
	if d.prefix != "" {
		v.Disks = []int{d.number}
	}
}

func extendedType(t string) bool { return t == "05" || t == "0f" || t == "85" }

func (s *inspection) add(name string, r io.ReaderAt, size int64, p *disk.Part) *volume {
	if len(s.volumes) >= maxVolumes {
		s.note("more than %d volumes: the rest is left out", maxVolumes)
		return nil
	}
	f := probe.Look(r, size)
	v := &volume{r: r, part: p, found: f.Volume, Volume: Volume{Name: name, Kind: f.Kind, UUID: f.UUID, Label: f.Label, Size: size, Free: -1}}
	if f.Volume != nil {
		i := f.Volume.Info()
		v.Free, v.Dirty, v.Lacks = i.Free, i.Dirty, lacks(i, size)
	}
	if f.Err != nil {
		v.Problem = f.Err.Error()
	}
	if strings.HasPrefix(f.Kind, probe.LUKS) || f.Kind == probe.BitLocker {
		v.Encrypted = true
		s.report.System.Encrypted = append(s.report.System.Encrypted, name)
	}
	if f.Hibernate {
		s.report.System.Hibernated = "swap on " + name + " holds the memory of a hibernated system"
	}
	s.volumes = append(s.volumes, v)
	return v
}

// lacks gives how many bytes a filesystem has beyond the end of its volume. Of those
// that have all their bytes on one volume: Btrfs may have more disks.
func lacks(i filesystem.Info, size int64) int64 {
	switch i.Kind {
	case "ext2", "ext3", "ext4", "xfs", "ntfs":
		return max(0, i.Size-size)
	}
	return 0
}

// openArrays adds arrays of members that are here.
func (s *inspection) openArrays() {
	var members []disk.Member
	for _, v := range s.ofKind(probe.MD) {
		if m, ok := disk.OpenMember(v.Name, v.r, v.Size); ok {
			members = append(members, m)
			v.Member = &Membership{Array: m.Array, Level: m.Level, Current: m.Role >= 0, Events: m.Events}
		}
	}
	for _, array := range disk.Arrays(members) {
		if array.R == nil {
			s.blame(members, array)
			continue
		}
		name := array.Volume()
		if a := s.add(name, array.R, array.Size, nil); a != nil {
			a.Missing, a.array, a.mirror = array.Missing, array.UUID, array.Level == disk.Mirror
			s.on(a, array.Members...)
			a.alias = []string{"/dev/" + name, "/dev/md" + strings.TrimPrefix(name, "md/")}
		}
	}
}

// blame tells of each member of an array that cannot be read why not.
func (s *inspection) blame(members []disk.Member, array disk.Array) {
	for _, m := range members {
		for _, v := range s.volumes {
			if m.Array == array.UUID && m.Volume == v.Name {
				v.Problem = array.Problem
			}
		}
	}
}

func (s *inspection) openGroups() {
	var pvs []*disk.PhysicalVolume
	for _, v := range s.ofKind(probe.LVM) {
		pv, err := disk.OpenPhysicalVolume(v.Name, v.r, v.Size)
		if err != nil {
			v.Problem = err.Error()
			continue
		}
		pvs = append(pvs, pv)
	}
	lvs, err := disk.LogicalVolumes(pvs)
	if err != nil {
		s.note("%v", err)
	}
	for _, lv := range lvs {
		name := lv.Group + "/" + lv.Name
		if lv.R == nil {
			s.volumes = append(s.volumes, &volume{Volume: Volume{Name: name, Kind: probe.Unknown, Free: -1, Problem: lv.Problem}})
			continue
		}
		if v := s.add(name, lv.R, lv.Size, nil); v != nil {
			s.on(v, physical(&lv)...)
			v.alias = []string{"/dev/" + name, "/dev/mapper/" + mapperName(lv.Group) + "-" + mapperName(lv.Name)}
		}
	}
}

// physical are the volumes that a logical one lies on.
func physical(lv *disk.LogicalVolume) (all []string) {
	for _, p := range lv.Pieces {
		for _, l := range p.Legs {
			all = append(all, l.Volume)
		}
	}
	return all
}

// mapperName doubles hyphens, as the device mapper does.
func mapperName(s string) string { return strings.ReplaceAll(s, "-", "--") }

func (s *inspection) ofKind(kind string) []*volume {
	var found []*volume
	for _, v := range s.volumes {
		if v.Kind == kind {
			found = append(found, v)
		}
	}
	return found
}
