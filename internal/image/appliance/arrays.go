package appliance

import (
	"fmt"
	"path"
	"strconv"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/disk"
	"github.com/droveway/droveway/internal/image/filesystem/probe"
)

// array finds an array of MD by its name in the report, nil if it is none.
func (d *devices) array(name string) (*disk.Array, error) {
	if d.arrays == nil {
		members := []disk.Member{}
		for _, v := range d.report.Volumes {
			_, _, _, ok := d.extent(v.Name) // inspection looks for members nowhere else
			if v.Kind != probe.MD || !ok {
				continue
			}
			r, size, err := d.read(v.Name)
			if err != nil {
				return nil, err
			}
			if m, ok := disk.OpenMember(v.Name, r, size); ok {
				members = append(members, m)
			}
		}
		d.arrays = append([]disk.Array{}, disk.Arrays(members)...)
	}
	for i := range d.arrays {
		if d.arrays[i].Volume() == name {
			return &d.arrays[i], nil
		}
	}
	return nil, nil
}

// assemble orders an array, once.
func (d *devices) assemble(a *disk.Array, err error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case a.R == nil:
		return "", droveway.Errorf(droveway.Unsupported, "%s: %s", a.Volume(), a.Problem)
	}
	for _, made := range d.made {
		if made.UUID == a.UUID {
			return made.Device, nil
		}
	}
	m := wire.Array{UUID: a.UUID, Version: a.Version, Level: a.Level, Path: "md/" + path.Base(a.Volume())}
	for _, name := range a.Members {
		device, err := d.device(name)
		if err != nil {
			return "", err
		}
		m.Members = append(m.Members, device)
	}
	m.Device = "/dev/" + d.arrayDevice(path.Base(a.Volume()))
	d.made = append(d.made, m)
	return m.Device, nil
}

// firstArray is what mdadm calls an array that has no number for a name, and counts
// down from there.
const firstArray = 127

func (d *devices) arrayDevice(name string) string {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < firstArray-len(d.arrays) {
		return fmt.Sprintf("md%d", n)
	}
	return fmt.Sprintf("md%d", firstArray-len(d.made))
}

// forLevel are the modules that arrays need.
func forLevel(level int) string {
	switch level {
	case disk.Linear:
		return "linear"
	default:
		return fmt.Sprintf("raid%d", level)
	}
}
