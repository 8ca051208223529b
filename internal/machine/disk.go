package machine

import (
	"context"
	"slices"

	"github.com/droveway/droveway"
)

const mib = 1 << 20

// disks completes the disks of a new machine: one without a size is as large as
// its image, in whole MiB. Errors: NotFound names an unknown image, Conflict one
// that is not ready, Invalid a disk that is smaller than its image.
func (c *Controller) disks(ctx context.Context, m *droveway.Machine) ([]droveway.Disk, error) {
	f, disks := c.cfg.Fleet, slices.Clone(m.Spec.Disks)
	for i := range disks {
		d := &disks[i]
		if d.From = ""; d.Origin != "" {
			if err := c.fromOrigin(ctx, m, d); err != nil {
				return nil, err
			}
		}
		if d.Image == "" {
			continue
		}
		image, _, err := f.Images.Get(ctx, d.Image)
		if err != nil {
			return nil, missing(err, "machine %s: disk %s: there is no image %q: import it first", m.Name, d.Name, d.Image)
		}
		if err := fit(m.Name, d, &image); err != nil {
			return nil, err
		}
	}
	return disks, nil
}

// fromOrigin completes a disk that is filled from an origin, which serves one
// machine alone: it goes with the end of that.
func (c *Controller) fromOrigin(ctx context.Context, m *droveway.Machine, d *droveway.Disk) error {
	o, err := c.cfg.Origins.Get(d.Origin)
	if err != nil {
		return missing(err, "machine %s: disk %s: there is no origin %q: offer its source first", m.Name, d.Name, d.Origin)
	}
	others, err := c.cfg.Fleet.Machines.List(ctx)
	if err != nil {
		return err
	}
	for i := range others {
		if others[i].Name != m.Name && slices.ContainsFunc(others[i].Spec.Disks, func(other droveway.Disk) bool { return other.Origin == d.Origin }) {
			return droveway.Errorf(droveway.Conflict, "machine %s: disk %s: its origin fills machine %s: offer the source once more", m.Name, d.Name, others[i].Name)
		}
	}
	d.From = o.Source.Location
	size := (o.Size + mib - 1) / mib
	if d.SizeMiB == 0 {
		d.SizeMiB = size
	}
	if d.SizeMiB < size {
		return droveway.Errorf(droveway.Invalid, "machine %s: disk %s of %d MiB is smaller than %s, which has %d MiB: give that much, or 0", m.Name, d.Name, d.SizeMiB, d.From, size)
	}
	return nil
}

func fit(machine string, d *droveway.Disk, image *droveway.Image) error {
	size := (image.Size + mib - 1) / mib
	switch {
	case image.State != droveway.ImageReady:
		return droveway.Errorf(droveway.Conflict, "machine %s: disk %s: image %s is %s: wait until it is ready", machine, d.Name, image.Name, image.State)
	case d.SizeMiB == 0:
		d.SizeMiB = size
	case d.SizeMiB < size:
		return droveway.Errorf(droveway.Invalid, "machine %s: disk %s of %d MiB is smaller than image %s, which has %d MiB: give that much, or 0", machine, d.Name, d.SizeMiB, image.Name, size)
	}
	return nil
}

// firmware is that of a new machine: the one that was asked for, or else what the
// image needs that it boots from.
func (c *Controller) firmware(ctx context.Context, m *droveway.Machine) (droveway.Firmware, error) {
	if id := m.Spec.Disks[0].Origin; m.Spec.Firmware == "" && id != "" {
		o, err := c.cfg.Origins.Get(id)
		return o.Firmware, err
	}
	if m.Spec.Firmware != "" || m.Spec.Disks[0].Image == "" {
		return m.Spec.Firmware, nil
	}
	image, _, err := c.cfg.Fleet.Images.Get(ctx, m.Spec.Disks[0].Image)
	return image.Firmware, err
}

// missing gives an error of kind NotFound a better message.
func missing(err error, format string, args ...any) error {
	if droveway.Is(err, droveway.NotFound) {
		return droveway.Errorf(droveway.NotFound, format, args...)
	}
	return err
}
