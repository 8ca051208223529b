package appliance

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/inspect"
)

// diskOf says what is to be mounted where, from the report, and for what is not simply
// a partition from the disk.
func diskOf(ctx context.Context, r Request, image *format.Image) (wire.Disk, error) {
	report := r.Report
	l := &layout{devices: devices{ctx: ctx, report: report, image: image, keys: r.Keys}, used: map[string]string{}, links: map[string]string{}}
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
	return wire.Disk{Arrays: l.made, Maps: l.maps, Mounts: l.mounts, Links: l.links}, nil
}

// layout says which volumes of a report are mounted where.
type layout struct {
	devices
	mounts []wire.Mount
	used   map[string]string // devices of the volumes that are mounted
	links  map[string]string
}

func (l *layout) mounted(at string) bool {
	return slices.ContainsFunc(l.mounts, func(m wire.Mount) bool { return m.Path == path.Clean(at) })
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

// mount adds a file system of a kind that can be mounted.
func (l *layout) mount(name, at, options string) error {
	v := l.volume(name)
	if v == nil {
		return droveway.Errorf(droveway.Unsupported, "there is no volume %q to mount: nothing can be changed in this image", name)
	}
	if forFilesystem[v.Kind] == nil || v.Kind == ntfs && at != "/" {
		return droveway.Errorf(droveway.Unsupported, "a file system of the kind %q on %s cannot be changed", v.Kind, name)
	}
	device, err := l.device(name)
	if err != nil {
		return err
	}
	l.used[name] = device
	l.mounts = append(l.mounts, wire.Mount{Device: device, Path: at, Kind: v.Kind, Options: options})
	return nil
}

// link makes the names by which programs of guests ask for file systems: GRUB's say
// root=UUID=… only for those that they find there.
func (l *layout) link() {
	for name, device := range l.used {
		v := l.volume(name)
		for dir, id := range map[string]string{"by-uuid": v.UUID, "by-label": v.Label} {
			if id != "" && !strings.ContainsAny(id, "/ ") && id != "." && id != ".." {
				l.links[dir+"/"+id] = device
			}
		}
	}
}
