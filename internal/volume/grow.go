package volume

import (
	"context"

	"github.com/droveway/droveway"
)

// Grow makes a volume that nobody uses as large as sizeBytes. It does nothing if
// the volume is that large; a larger one is Invalid. A kill at any moment leaves
// the volume whole, with its old size or the new one.
func (p *Pool) Grow(ctx context.Context, name string, sizeBytes int64) error {
	path, format, err := p.Path(name)
	if err != nil {
		return err
	}
	if err := checkWanted(name, format, sizeBytes); err != nil {
		return err
	}
	release, err := p.claim(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	if err := growFile(ctx, path, format, sizeBytes); err != nil {
		return droveway.Errorf(droveway.KindOf(err), "grow volume %s: %w", name, err)
	}
	p.log.Info("volume has grown", "volume", name, "bytes", sizeBytes)
	return nil
}

func growFile(ctx context.Context, path string, format droveway.Format, size int64) error {
	have, err := sizeOf(path, format)
	if err != nil {
		return err
	}
	if have > size {
		return droveway.Errorf(droveway.Invalid, "it has %d bytes and %d are wanted: a volume can only grow", have, size)
	}
	if have < size {
		if err := grow(ctx, path, format, size); err != nil {
			return err
		}
	}
	return flush(path) // also what a killed process has left
}
