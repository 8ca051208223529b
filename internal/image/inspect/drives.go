package inspect

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/format"
)

// drive is one of the disks of a machine.
type drive struct {
	number int // from 1 on, as the machine has them
	prefix string
	image  Image
	r      io.ReaderAt
	size   int64
	table  disk.Table
}

// apart is what lies between two disks that are read as one, so that no page of a cache
// has bytes of both.
const apart = 1 << 20

// row is disks one behind the other: one cache and one budget then bound what all of them
// take. What lies between them is zeros.
type row struct {
	of     []*format.Image
	starts []int64
	size   int64
}

func inARow(images []*format.Image) *row {
	w := &row{of: images}
	for _, i := range images {
		w.starts = append(w.starts, w.size)
		w.size += (i.Size + apart - 1) &^ (apart - 1)
	}
	return w
}

// ReadAt reads of the disk that off lies on. Nothing is longer than what the cache and
// the sections of disks ask for, so that no read is of two.
func (w *row) ReadAt(p []byte, off int64) (int, error) {
	k := sort.Search(len(w.starts), func(k int) bool { return w.starts[k] > off }) - 1
	if k < 0 {
		return 0, io.EOF
	}
	i, at := w.of[k], off-w.starts[k]
	have := min(max(i.Size-at, 0), int64(len(p)))
	if have > 0 {
		if err := block.Full(i, p[:have], at); err != nil {
			return 0, err
		}
	}
	clear(p[have:])
	return len(p), nil
}

// addDrives takes the disks and reads how they are divided.
func (s *inspection) addDrives(images []*format.Image, w *row, r io.ReaderAt) error {
	for k, i := range images {
		d := &drive{
			number: k + 1, r: block.Section(r, w.starts[k], i.Size), size: i.Size,
			image: Image{Format: string(i.Kind), Variant: i.Variant, Member: i.Inside, Size: i.Size},
		}
		if len(images) > 1 {
			d.prefix = fmt.Sprintf("disk%d:", d.number)
		}
		var err error
		if d.table, err = disk.ReadTable(d.r, d.size); err != nil {
			return droveway.Errorf(droveway.KindOf(err), "%s%w", d.prefix, err)
		}
		for _, n := range d.table.Notes {
			s.report.Notes = append(s.report.Notes, strings.TrimSpace(d.prefix+" "+n))
		}
		s.drives = append(s.drives, d)
	}
	s.report.Image, s.report.Disk = s.drives[0].image, s.drives[0].table
	return nil
}

// describeDrives says of each of several disks what it is for.
func (s *inspection) describeDrives() {
	if len(s.drives) == 1 {
		return
	}
	boots := s.bootDrive()
	for _, d := range s.drives {
		k := Drive{Number: d.number, Image: d.image, Disk: d.table, Boots: d == boots}
		for _, v := range s.volumes {
			if v.Mount != "" && slices.Contains(v.Disks, d.number) {
				k.Mounts = append(k.Mounts, v.Mount)
			}
		}
		s.report.Disks = append(s.report.Disks, k)
	}
}

// boot makes the disk that the machine boots from the one that the report is of.
func (s *inspection) boot() {
	if len(s.drives) == 0 {
		return
	}
	d := s.bootDrive()
	s.report.Image, s.report.Disk = d.image, d.table
}

// bootMounts are where the files of boot loaders are, the surest first.
var bootMounts = []string{"/boot/efi", "/efi", "/boot", "/"}

// bootDrive is the disk that the machine boots from: of those that a firmware would boot
// the one with the files of the loader, or else the first.
func (s *inspection) bootDrive() *drive {
	able := slices.DeleteFunc(slices.Clone(s.drives), func(d *drive) bool { return !s.canBoot(d) })
	if len(able) == 0 {
		able = s.drives
	}
	for _, at := range bootMounts {
		for _, v := range s.volumes {
			for _, d := range able {
				if v.Mount == at && slices.Contains(v.Needs, d.number) {
					return d
				}
			}
		}
	}
	return able[0]
}

func (s *inspection) canBoot(d *drive) bool {
	return biosBoots(&d.table) || slices.ContainsFunc(d.table.Parts, func(p disk.Part) bool { return p.ESP() })
}

// driveOf finds the disk that a name of fstab means, as "sdb".
func (s *inspection) driveOf(name string) *drive {
	if len(s.drives) == 1 {
		if s.ours(name) {
			return s.drives[0]
		}
		return nil
	}
	if s.order == nil {
		s.order = s.ordered()
	}
	if at := place(name); at < len(s.order) {
		return s.order[at]
	}
	return nil
}

// ordered are the disks as fstab counts them. The one with the root is called as fstab calls
// that of the root. If it has no name for it the disks are in their order, unless fstab
// names partitions that are not there then, and are if the root's disk is the first. Of
// halves of a mirror that which the system is taken from is the first unless that fails.
func (s *inspection) ordered() []*drive {
	root, called := s.rootDrive(), s.rootName()
	if root == nil || called != "" && place(called) >= len(s.drives) {
		return s.drives
	}
	if called != "" {
		return moved(s.drives, root, place(called))
	}
	least := s.named(s.drives)
	if !s.mirrored() {
		least++
	}
	if first := moved(s.drives, root, 0); s.named(first) >= least {
		return first
	}
	return s.drives
}

// moved has one of the disks at another place.
func moved(drives []*drive, d *drive, to int) []*drive {
	rest := slices.DeleteFunc(slices.Clone(drives), func(o *drive) bool { return o == d })
	return slices.Insert(rest, to, d)
}

// named is how many partitions that fstab names are there, and what it says they are, if
// that is the order of disks.
func (s *inspection) named(order []*drive) (n int) {
	for _, m := range s.report.System.Fstab {
		k := diskName.FindStringSubmatch(m.Spec)
		if k == nil || place(k[1]) >= len(order) {
			continue
		}
		if v := s.partition(order[place(k[1])], k[2]); v != nil && v.Kind == m.Kind {
			n++
		}
	}
	return n
}

// partition is one of a disk, by its number; nil: there is none.
func (s *inspection) partition(d *drive, number string) *volume {
	for _, v := range s.volumes {
		if d != nil && v.drive == d && v.Name == d.prefix+"p"+number {
			return v
		}
	}
	return nil
}

// rootName is what fstab calls the disk of the root; empty: it does not call it by name.
func (s *inspection) rootName() string {
	for _, m := range s.report.System.Fstab {
		if n := diskName.FindStringSubmatch(m.Spec); n != nil && m.Path == "/" {
			return n[1]
		}
	}
	return ""
}

// mirrored reports whether the root is on a mirror.
func (s *inspection) mirrored() bool {
	return slices.ContainsFunc(s.volumes, func(v *volume) bool {
		return v.Mount == "/" && slices.ContainsFunc(s.under(v), func(o *volume) bool { return o.mirror })
	})
}

// rootDrive is the disk with the root; nil: it is on several.
func (s *inspection) rootDrive() *drive {
	for _, v := range s.volumes {
		if v.Mount == "/" && len(v.Needs) == 1 {
			return s.drives[v.Needs[0]-1]
		}
	}
	return nil
}

var (
	lettered = regexp.MustCompile(`^(?:[shv]d|xvd)([a-z]+)$`)
	numbered = regexp.MustCompile(`^(?:nvme|mmcblk)(\d+)(?:n(\d+))?p$`)
)

// place is that of a disk among those of its machine, from 0 on, by its name. VMware has
// the disks of one controller as name spaces of one NVMe.
func place(name string) int {
	if m := lettered.FindStringSubmatch(name); m != nil {
		n := 0
		for _, c := range m[1][:min(len(m[1]), 3)] {
			n = 26*n + int(c-'a') + 1
		}
		return n - 1
	}
	m := numbered.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	controller, _ := strconv.Atoi(m[1][:min(len(m[1]), 4)])
	space, _ := strconv.Atoi(cmp.Or(m[2], "1")[:min(len(cmp.Or(m[2], "1")), 4)])
	return max(controller+space-1, 0)
}

// on notes which disks a volume is on: those of the volumes that it is made of.
func (s *inspection) on(v *volume, parts ...string) {
	slices.Sort(parts)
	v.parts = slices.Compact(parts)
	if len(s.drives) < 2 {
		return
	}
	for _, o := range s.volumes {
		if slices.Contains(parts, o.Name) {
			v.Disks = append(v.Disks, o.Disks...)
		}
	}
	slices.Sort(v.Disks)
	v.Disks = slices.Compact(v.Disks)
}
