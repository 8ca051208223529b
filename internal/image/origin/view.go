package origin

import (
	"context"
	"fmt"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/survey"
)

// view reads a disk of a source. The readers of formats know no context, so that of
// the request at hand stands here: a view is used by one request at a time.
type view struct {
	store *store
	ctx   context.Context
	bulk  bool // nobody waits for it in haste
	disk  *format.Image
}

// ReadAt reads the source.
func (v *view) ReadAt(p []byte, off int64) (int, error) {
	q, done := block.Clip(p, off, v.store.size)
	if done {
		return 0, fmt.Errorf("read at %d of a source of %d bytes", off, v.store.size)
	}
	if err := v.store.read(v.ctx, q, off, v.bulk); err != nil {
		return 0, err
	}
	return len(q), nil
}

// newView opens the one disk that is chosen of a source.
func newView(ctx context.Context, s *store, choice string) (*view, *survey.Source, survey.Disk, error) {
	v := &view{store: s, ctx: ctx}
	src, err := survey.New(v, s.size)
	if err != nil {
		return nil, nil, survey.Disk{}, err
	}
	disks, err := src.Pick(choice)
	if err != nil {
		return nil, nil, survey.Disk{}, err
	}
	if len(disks) > 1 {
		return nil, nil, survey.Disk{}, droveway.Errorf(droveway.Invalid, "the source has %d disks and a machine runs from one: choose one by number", len(disks))
	}
	v.disk, err = src.Read(disks[0])
	return v, src, disks[0], err
}

// bulk is the size from which on a request is one of a copy: QEMU's asks for so
// much each time, and guests, as a rule, for less.
const bulk = 512 << 10

// read fills p with what a guest sees; what lies beyond the disk is zero.
func (v *view) read(ctx context.Context, p []byte, off int64) error {
	v.ctx, v.bulk = ctx, len(p) >= bulk
	n := min(int64(len(p)), max(v.disk.Size-off, 0))
	clear(p[n:])
	return block.Full(v.disk, p[:n], off)
}

// hole reports whether n bytes from off on are zero.
func (v *view) hole(ctx context.Context, off, n int64) bool {
	v.ctx, v.bulk = ctx, n >= bulk
	for end := min(off+n, v.disk.Size); off < end; {
		more, err := v.disk.Hole(off)
		if err != nil || more == 0 {
			return false
		}
		off += more
	}
	return true
}
