package convert

import (
	"bytes"
	"context"
	"os"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/volume"
)

// step is how much is read at once, in bytes. It divides what one second-level
// table maps.
const step = 2 << 20

// ToQCOW2 writes a disk to an empty file as qcow2: zeros take no room. The file is
// flushed. progress, which may be nil, is told the bytes of the disk that are
// done. Errors are those of reading the disk, Unavailable if ctx ends or there is
// no room.
func ToQCOW2(ctx context.Context, to *os.File, disk *format.Image, progress func(done int64)) error {
	w := newWriter(to, disk.Size)
	buf := make([]byte, step)
	for at := int64(0); at < disk.Size; {
		if err := stopped(ctx); err != nil {
			return err
		}
		n, err := skip(ctx, disk, at)
		if err != nil {
			return err
		}
		if n == 0 {
			p := buf[:min(step, disk.Size-at)]
			if err := block.Full(disk, p, at); err != nil {
				return err
			}
			if err := w.write(p, at); err != nil {
				return volume.NoRoom(err, to.Name(), disk.Size-at)
			}
			n = int64(len(p))
		}
		if at += n; progress != nil {
			progress(at)
		}
	}
	if err := w.finish(); err != nil {
		return volume.NoRoom(err, to.Name(), 1)
	}
	return volume.NoRoom(to.Sync(), to.Name(), 1)
}

func stopped(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return droveway.Errorf(droveway.Unavailable, "convert the disk: %w", err)
	}
	return nil
}

// skip tells how many whole steps from at on are known to be zero, in bytes. A
// hostile disk may have holes of a sector each over terabytes.
func skip(ctx context.Context, disk *format.Image, at int64) (int64, error) {
	var n int64
	for n < disk.Size-at {
		if err := stopped(ctx); err != nil {
			return 0, err
		}
		hole, err := disk.Hole(at + n)
		if err != nil {
			return 0, err
		}
		if hole == 0 {
			break
		}
		n += hole
	}
	if n == disk.Size-at {
		return n, nil
	}
	return n / step * step, nil
}

var nothing [cluster]byte

func isZero(p []byte) bool { return bytes.Equal(p, nothing[:len(p)]) }
