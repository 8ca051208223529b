package workload

import (
	"context"
	"encoding/binary"
	"time"
)

const (
	pageSize   = 4096
	betweenRAM = 50 * time.Millisecond
)

// dirty rewrites memory all the time and counts the pages that are not what was
// written into them the time before: a move must carry them over exactly.
func dirty(ctx context.Context, mib int, n *news) {
	if mib <= 0 {
		return
	}
	memory := make([]byte, mib<<20)
	for round := uint64(0); ctx.Err() == nil; round++ {
		if bad := sweep(memory, round); bad > 0 {
			n.badRAM(bad)
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenRAM):
		}
	}
}

// sweep expects the number of the round, mixed with the page's own, in each page
// and leaves the next round's there.
func sweep(memory []byte, round uint64) (bad uint64) {
	for i := 0; i < len(memory); i += pageSize {
		page := memory[i : i+pageSize]
		if round > 0 && binary.LittleEndian.Uint64(page) != round^uint64(i) {
			bad++
		}
		binary.LittleEndian.PutUint64(page, (round+1)^uint64(i))
	}
	return bad
}
