package appliance

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/inspect"
)

// theDisk is the name of the only disk in the appliance.
const theDisk = "/dev/vda"

const sector = 512

// layout finds the devices that the volumes of a report are in the appliance.
type layout struct {
	report *inspect.Report
	image  *format.Image
	disk   wire.Disk
	used   map[string]string             // devices of the volumes that are mounted
	groups map[string]disk.LogicalVolume // by "group/volume"; nil: not read yet
}

// diskOf says what is to be mounted where, from the report alone, and for logical
// volumes from the disk.
func diskOf(report *inspect.Report, image *format.Image) (wire.Disk, error) {
	l := &layout{report: report, image: image, used: map[string]string{}, disk: wire.Disk{Links: map[string]string{}}}
	root, subvolume, _ := strings.Cut(strings.TrimSuffix(report.System.Root, "]"), "[")
	if err := l.mount(root, "/", options(subvolume)); err != nil {
		return wire.Disk{}, droveway.Errorf(droveway.KindOf(err), "the root: %w", err)
	}
	lines := slices.Clone(report.System.Fstab)
	slices.SortStableFunc(lines, func(a, b inspect.Mount) int {
		return cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/"))
	})
	for _, m := range lines {
		if m.Volume == "" || !ofSystem(path.Clean(m.Path)) || l.mounted(m.Path) {
			continue
		}
		if err := l.mount(m.Volume, path.Clean(m.Path), subvolumeOptions(m.Options)); err != nil {
			return wire.Disk{}, droveway.Errorf(droveway.KindOf(err), "%s of fstab: %w", m.Path, err)
		}
	}
	l.link()
	return l.disk, nil
}

func (l *layout) mounted(at string) bool {
	return slices.ContainsFunc(l.disk.Mounts, func(m wire.Mount) bool { return m.Path == path.Clean(at) })
}

// options are those of a subvolume as a report names it.
func options(subvolume string) string {
	if id, ok := strings.CutPrefix(subvolume, "#"); ok {
		return "subvolid=" + id
	}
	if subvolume != "" {
		return "subvol=" + subvolume
	}
	return ""
}

// subvolumeOptions leaves of a line of fstab what says which file system it is.
func subvolumeOptions(all string) string {
	var kept []string
	for o := range strings.SplitSeq(all, ",") {
		if strings.HasPrefix(o, "subvol=") || strings.HasPrefix(o, "subvolid=") {
			kept = append(kept, o)
		}
	}
	return strings.Join(kept, ",")
}

func (l *layout) volume(name string) *inspect.Volume {
	for i := range l.report.Volumes {
		if l.report.Volumes[i].Name == name {
			return &l.report.Volumes[i]
		}
	}
	return nil
}

// mount adds a file system of a kind that can be mounted.
func (l *layout) mount(name, at, options string) error {
	v := l.volume(name)
	if v == nil {
		return droveway.Errorf(droveway.Unsupported, "there is no volume %q to mount: nothing can be changed in this image", name)
	}
	if forFilesystem[v.Kind] == nil {
		return droveway.Errorf(droveway.Unsupported, "a file system of the kind %q on %s cannot be changed", v.Kind, name)
	}
	device, err := l.device(name)
	if err != nil {
		return err
	}
	l.used[name] = device
	l.disk.Mounts = append(l.disk.Mounts, wire.Mount{Device: device, Path: at, Kind: v.Kind, Options: options})
	return nil
}

// device is where a volume is in the appliance; a logical volume is mapped for that.
func (l *layout) device(name string) (string, error) {
	var number int
	switch _, err := fmt.Sscanf(name, "p%d", &number); {
	case name == "disk":
		return theDisk, nil
	case strings.Contains(name, "/open"):
		return "", droveway.Errorf(droveway.Unsupported, "%s is encrypted, and cannot be changed", strings.TrimSuffix(name, "/open"))
	case err == nil && !strings.Contains(name, "/"):
		return fmt.Sprintf("%s%d", theDisk, number), nil
	}
	mapped := mapperName(name)
	if !slices.ContainsFunc(l.disk.Maps, func(m wire.Map) bool { return m.Name == mapped }) {
		m, err := l.mapVolume(name)
		if err != nil {
			return "", err
		}
		l.disk.Maps = append(l.disk.Maps, m)
	}
	return "/dev/mapper/" + mapped, nil
}

// mapperName is the name that LVM gives to the volume group/name: hyphens in either
// are doubled.
func mapperName(name string) string {
	return strings.Replace(strings.ReplaceAll(name, "-", "--"), "/", "-", 1)
}

func (l *layout) mapVolume(name string) (wire.Map, error) {
	if err := l.readGroups(); err != nil {
		return wire.Map{}, err
	}
	lv, ok := l.groups[name]
	if !ok || len(lv.Pieces) == 0 {
		return wire.Map{}, droveway.Errorf(droveway.Unsupported, "volume %s is neither a partition nor a logical volume that can be mapped", name)
	}
	m := wire.Map{Name: mapperName(name), UUID: "LVM-" + lv.UUID, Path: name}
	for _, p := range lv.Pieces {
		t, err := l.target(p)
		if err != nil {
			return wire.Map{}, err
		}
		m.Table = append(m.Table, t)
	}
	return m, nil
}

// target is a piece as the kernel's targets linear and striped take it.
func (l *layout) target(p disk.Piece) (wire.Target, error) {
	t := wire.Target{Start: p.Start / sector, Size: p.Size / sector, Kind: "linear"}
	var params []string
	if len(p.Legs) > 1 {
		t.Kind = "striped"
		params = append(params, fmt.Sprint(len(p.Legs)), fmt.Sprint(p.Stripe/sector))
	}
	for _, leg := range p.Legs {
		device, err := l.device(leg.Volume)
		if err != nil {
			return t, err
		}
		params = append(params, device, fmt.Sprint(leg.Base/sector))
	}
	t.Params = strings.Join(params, " ")
	return t, nil
}

// readGroups reads what LVM has written on its partitions.
func (l *layout) readGroups() error {
	if l.groups != nil {
		return nil
	}
	l.groups = map[string]disk.LogicalVolume{}
	var pvs []*disk.PhysicalVolume
	for _, v := range l.report.Volumes {
		start, size, ok := l.extent(v.Name)
		if v.Kind != probe.LVM || !ok {
			continue
		}
		pv, err := disk.OpenPhysicalVolume(v.Name, block.Section(l.image, start, size), size)
		if err != nil {
			return err
		}
		pvs = append(pvs, pv)
	}
	all, err := disk.LogicalVolumes(pvs)
	if err != nil {
		return err
	}
	for _, lv := range all {
		l.groups[lv.Group+"/"+lv.Name] = lv
	}
	return nil
}

// extent is where on the disk a partition is.
func (l *layout) extent(name string) (start, size int64, ok bool) {
	if name == "disk" {
		return 0, l.image.Size, true
	}
	for _, p := range l.report.Disk.Parts {
		if name == fmt.Sprintf("p%d", p.Number) {
			return p.Start, p.Size, true
		}
	}
	return 0, 0, false
}

// link makes the names by which programs of guests ask for file systems: GRUB's say
// root=UUID=… only for those that they find there.
func (l *layout) link() {
	for name, device := range l.used {
		v := l.volume(name)
		for dir, id := range map[string]string{"by-uuid": v.UUID, "by-label": v.Label} {
			if id != "" && !strings.ContainsAny(id, "/ ") && id != "." && id != ".." {
				l.disk.Links[dir+"/"+id] = device
			}
		}
	}
}
