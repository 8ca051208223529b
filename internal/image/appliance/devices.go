package appliance

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/luks"
)

// theDisk is the name of the only disk in the appliance.
const theDisk = "/dev/vda"

const sector = 512

// devices finds where the volumes of a report are in the appliance, and what has to be
// made there for that: arrays first, then maps, each behind those that it is made of.
type devices struct {
	ctx    context.Context // of the one repair
	report *inspect.Report
	image  *format.Image
	keys   []luks.Key

	made []wire.Array
	maps []wire.Map

	opened map[string]luks.Volume        // by the name of what is encrypted
	groups map[string]disk.LogicalVolume // by "group/volume"; nil: not read yet
	arrays []disk.Array                  // nil: not read yet
}

func (d *devices) volume(name string) *inspect.Volume {
	for i := range d.report.Volumes {
		if d.report.Volumes[i].Name == name {
			return &d.report.Volumes[i]
		}
	}
	return nil
}

// container is the encrypted volume that a volume is inside of.
func (d *devices) container(name string) (string, bool) {
	outer, ok := strings.CutSuffix(name, "/open")
	v := d.volume(outer)
	return outer, ok && v != nil && v.Encrypted
}

// extent is where on the disk a partition is.
func (d *devices) extent(name string) (device string, start, size int64, ok bool) {
	if name == "disk" {
		return theDisk, 0, d.report.Image.Size, true
	}
	for _, p := range d.report.Disk.Parts {
		if name == fmt.Sprintf("p%d", p.Number) {
			return fmt.Sprintf("%s%d", theDisk, p.Number), p.Start, p.Size, true
		}
	}
	return "", 0, 0, false
}

// device is where a volume is. What is no part of the disk as it is gets made for that.
func (d *devices) device(name string) (string, error) {
	if device, _, _, ok := d.extent(name); ok {
		return device, nil
	}
	if array, err := d.array(name); err != nil || array != nil {
		return d.assemble(array, err)
	}
	how, id := d.mapVolume, mapperName(name)
	if outer, ok := d.container(name); ok {
		how, id = d.mapOpen, d.openName(outer)
	}
	if !slices.ContainsFunc(d.maps, func(m wire.Map) bool { return m.Name == id }) {
		m, err := how(name)
		if err != nil {
			return "", err
		}
		m.Name = id
		d.maps = append(d.maps, m)
	}
	return "/dev/mapper/" + id, nil
}

// read gives what a volume holds.
func (d *devices) read(name string) (io.ReaderAt, int64, error) {
	if _, start, size, ok := d.extent(name); ok {
		return block.Section(d.image, start, size), size, nil
	}
	if a, err := d.array(name); err != nil || a != nil {
		if err != nil {
			return nil, 0, err
		}
		return a.R, a.Size, nil
	}
	if outer, ok := d.container(name); ok {
		v, err := d.unlock(outer)
		return v.ReaderAt, v.Size, err
	}
	lv, err := d.logical(name)
	return lv.R, lv.Size, err
}

// mapperName is the name that LVM gives to the volume group/name: hyphens in either
// are doubled.
func mapperName(name string) string {
	return strings.Replace(strings.ReplaceAll(name, "-", "--"), "/", "-", 1)
}

// logical finds a logical volume.
func (d *devices) logical(name string) (disk.LogicalVolume, error) {
	if err := d.readGroups(); err != nil {
		return disk.LogicalVolume{}, err
	}
	lv, ok := d.groups[name]
	if !ok || len(lv.Pieces) == 0 {
		return lv, droveway.Errorf(droveway.Unsupported, "volume %s is neither a partition nor a logical volume that can be mapped", name)
	}
	return lv, nil
}

func (d *devices) mapVolume(name string) (wire.Map, error) {
	lv, err := d.logical(name)
	if err != nil {
		return wire.Map{}, err
	}
	m := wire.Map{UUID: "LVM-" + lv.UUID, Path: name}
	for _, p := range lv.Pieces {
		t, err := d.target(p)
		if err != nil {
			return wire.Map{}, err
		}
		m.Table = append(m.Table, t)
	}
	return m, nil
}

// target is a piece as the kernel's targets linear and striped take it.
func (d *devices) target(p disk.Piece) (wire.Target, error) {
	t := wire.Target{Start: p.Start / sector, Size: p.Size / sector, Kind: "linear"}
	var params []string
	if len(p.Legs) > 1 {
		t.Kind = "striped"
		params = append(params, fmt.Sprint(len(p.Legs)), fmt.Sprint(p.Stripe/sector))
	}
	for _, leg := range p.Legs {
		device, err := d.device(leg.Volume)
		if err != nil {
			return t, err
		}
		params = append(params, device, fmt.Sprint(leg.Base/sector))
	}
	t.Params = strings.Join(params, " ")
	return t, nil
}

// readGroups reads what LVM has written on its physical volumes.
func (d *devices) readGroups() error {
	if d.groups != nil {
		return nil
	}
	d.groups = map[string]disk.LogicalVolume{} // a physical volume inside of one is in none
	var pvs []*disk.PhysicalVolume
	for _, v := range d.report.Volumes {
		if v.Kind != probe.LVM {
			continue
		}
		r, size, err := d.read(v.Name)
		if droveway.Is(err, droveway.Unsupported) {
			continue // the group may do without it
		}
		if err != nil {
			return err
		}
		pv, err := disk.OpenPhysicalVolume(v.Name, r, size)
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
		d.groups[lv.Group+"/"+lv.Name] = lv
	}
	return nil
}
