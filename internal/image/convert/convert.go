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
	c := conversion{w: newWriter(to, disk.Size), to: to, disk: disk, buf: make([]byte, step)}
	return c.run(ctx, progress)
}

// conversion is a disk that is being written.
type conversion struct {
	w    *writer
	to   *os.File
	disk *format.Image
	buf  []byte
	at   int64 // bytes of the disk that are done
	kept *keeper
}

func (c *conversion) run(ctx context.Context, progress func(done int64)) error {
	for c.at < c.disk.Size {
		if err := stopped(ctx); err != nil {
			return err
		}
		n, err := c.next(ctx)
		if err != nil {
			return err
		}
		if c.at += n; progress != nil {
			progress(c.at)
		}
		if err := c.kept.keep(c); err != nil {
			return err
		}
	}
	if err := c.w.finish(); err != nil {
		return volume.NoRoom(err, c.to.Name(), 1)
	}
	return volume.NoRoom(c.to.Sync(), c.to.Name(), 1)
}

// next brings the next bytes over, or leaves out what is empty, and tells how many
// they are.
func (c *conversion) next(ctx context.Context) (int64, error) {
	if n, err := skip(ctx, c.disk, c.at); err != nil || n > 0 {
		return n, err
	}
	p := c.buf[:min(step, c.disk.Size-c.at)]
	if err := block.Full(c.disk, p, c.at); err != nil {
		return 0, err
	}
	if err := c.w.write(p, c.at); err != nil {
		return 0, volume.NoRoom(err, c.to.Name(), c.disk.Size-c.at)
	}
	return int64(len(p)), nil
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
