package block

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/droveway/droveway"
)

// Budget is a reader that gives up: when ctx ends, and after so many bytes. It
// bounds what a hostile disk costs, whatever loop it sends a parser into, as no
// parser here goes on long without a read.
type Budget struct {
	ctx   context.Context
	r     io.ReaderAt
	left  atomic.Int64
	spent atomic.Int64
}

// NewBudget allows limit bytes, and a toll for each read.
func NewBudget(ctx context.Context, r io.ReaderAt, limit int64) *Budget {
	b := &Budget{ctx: ctx, r: r}
	b.left.Store(limit)
	return b
}

// The toll of a read makes many tiny reads count.
const toll = 64

// ReadAt reads while the budget lasts.
func (b *Budget) ReadAt(p []byte, off int64) (int, error) {
	if err := context.Cause(b.ctx); err != nil {
		return 0, droveway.Errorf(droveway.Unavailable, "read the disk: %w", err)
	}
	if b.left.Add(-int64(len(p))-toll) < 0 {
		return 0, droveway.Errorf(droveway.Invalid, "read the disk: it makes us read more than an inspection may: it is damaged or hostile")
	}
	b.spent.Add(int64(len(p)))
	return b.r.ReadAt(p, off)
}

// Spent is how many bytes were read.
func (b *Budget) Spent() int64 { return b.spent.Load() }
