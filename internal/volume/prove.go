package volume

import (
	"context"
	"slices"
	"sync"

	"github.com/droveway/droveway"
)

// MaxChunks is how many chunks one call of Sums may name: few enough that even a
// busy, slow disk answers within seconds, and that the answer is a small message
// (9 KiB as JSON).
const MaxChunks = 128

// Summer hashes chunks of one copy of a disk, here or on another host.
type Summer interface {
	// Sums gives the sums of the chunks named, at most MaxChunks, in their
	// order.
	Sums(ctx context.Context, chunks []int64) ([]Sum, error)
}

// Prover is the Summer of a volume of this host.
type Prover struct {
	pool *Pool
	name string
}

// Prover gives the Summer of a volume. It opens nothing between calls.
func (p *Pool) Prover(name string) *Prover { return &Prover{p, name} }

// Sums implements Summer. Each call opens the disk anew, so that the tables of a
// qcow2 disk are never older than the call.
func (v *Prover) Sums(ctx context.Context, chunks []int64) ([]Sum, error) {
	if len(chunks) > MaxChunks {
		return nil, droveway.Errorf(droveway.Invalid, "volume %s: sums of %d chunks: at most %d at once", v.name, len(chunks), MaxChunks)
	}
	path, format, err := v.pool.Path(v.name)
	if err != nil {
		return nil, err
	}
	disk, err := v.pool.Reader(ctx, path, format)
	if err != nil {
		return nil, err
	}
	sums, err := hashAll(ctx, disk, chunks)
	if cerr := disk.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "hash volume %s: %w", v.name, err)
	}
	return sums, nil
}

func hashAll(ctx context.Context, disk Reader, chunks []int64) ([]Sum, error) {
	h := newHasher(disk)
	sums := make([]Sum, 0, len(chunks))
	for _, c := range chunks {
		if err := context.Cause(ctx); err != nil {
			return nil, droveway.Errorf(droveway.Unavailable, "stopped before chunk %d: %w", c, err)
		}
		sum, err := h.sum(c)
		if err != nil {
			return nil, err
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

// Compare compares two copies of a disk of size bytes by their sums and returns
// the chunks that differed when they were looked at. progress, which may be nil,
// is told bytes.
//
// It proves two copies equal although a guest writes to them, if from some
// moment T on, before Compare begins,
//
//   - nothing but the guest's writes changes either copy: hydration is done;
//   - every write of the guest goes to both copies before the guest sees it done,
//     and a write that fails on one stops the guest; and
//   - both disks were flushed at T, so that what was written before stands in
//     their files (only qcow2 needs that: its tables may linger in memory).
//
// For then take any byte of a chunk whose sums were equal. If the guest did not
// write it since T, both looks saw it as it is, and it is equal. If the guest
// wrote it since T, be it before the look, after it, or between the two looks,
// the same write went to both copies, and it is equal whatever the looks saw. So
// a chunk that was equal once need never be looked at again.
//
// A chunk that differed proves nothing yet: a write may have been under way. The
// caller holds the guest still, flushes, and compares just those chunks with
// CompareChunks; what differs then differs in truth. If neither call leaves a
// chunk, the copies are equal, and the guest stood still only for the few chunks
// that it was writing at the time.
func Compare(ctx context.Context, a, b Summer, size int64, progress func(done, total int64)) (differ []int64, err error) {
	total := Chunks(size)
	batch := make([]int64, 0, MaxChunks)
	for next := int64(0); next < total; {
		batch = batch[:0]
		for ; next < total && len(batch) < MaxChunks; next++ {
			batch = append(batch, next)
		}
		d, err := compareBatch(ctx, a, b, batch)
		if err != nil {
			return nil, err
		}
		differ = append(differ, d...)
		if progress != nil {
			progress(min(next*ChunkSize, size), size)
		}
	}
	return differ, nil
}

// CompareChunks compares some chunks and returns those that differ. See Compare
// for when it proves what.
func CompareChunks(ctx context.Context, a, b Summer, chunks []int64) (differ []int64, err error) {
	for batch := range slices.Chunk(chunks, MaxChunks) {
		d, err := compareBatch(ctx, a, b, batch)
		if err != nil {
			return nil, err
		}
		differ = append(differ, d...)
	}
	return differ, nil
}

// compareBatch asks both sides at the same time: they are on two hosts. If one
// fails, the other is stopped.
func compareBatch(ctx context.Context, a, b Summer, chunks []int64) ([]int64, error) {
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sums [2][]Sum
	var both sync.WaitGroup
	for i, side := range []Summer{a, b} {
		both.Go(func() {
			var err error
			if sums[i], err = ask(asking, side, chunks); err != nil {
				cancel(err) // the first one stays the cause
			}
		})
	}
	both.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "compare disks: %w", err)
	}
	if err := context.Cause(asking); err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "compare disks: %w", err)
	}
	return differing(chunks, sums[0], sums[1]), nil
}

// ask makes sure that an answer from another host has a sum for every chunk.
func ask(ctx context.Context, s Summer, chunks []int64) ([]Sum, error) {
	sums, err := s.Sums(ctx, chunks)
	if err == nil && len(sums) != len(chunks) {
		err = droveway.Errorf(droveway.Internal, "asked for %d sums and got %d", len(chunks), len(sums))
	}
	return sums, err
}

// differing gives the chunks whose sums differ.
func differing(chunks []int64, a, b []Sum) (differ []int64) {
	for i, c := range chunks {
		if a[i] != b[i] {
			differ = append(differ, c)
		}
	}
	return differ
}
