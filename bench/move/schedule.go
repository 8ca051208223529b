package main

import (
	"fmt"
	"slices"
	"time"
)

// trial is one move, or restart, to measure.
type trial struct {
	Run     int   `json:"run"` // from 1
	DiskMiB int64 `json:"disk_mib"`
	Mode    mode  `json:"mode"`
}

func (t trial) String() string {
	return fmt.Sprintf("%s, %s, run %d", t.Mode, sizeText(t.DiskMiB), t.Run)
}

// schedule puts the trials in order: small disks first, the modes of one size
// next to each other so that they meet the same machine, and each run with
// another mode at the beginning so that none profits from its place. Restarts
// are made with the smallest and the greatest disk: that shows how much the size
// counts.
func schedule(runs int, sizes []int64, modes []mode) (all []trial) {
	sizes = slices.Sorted(slices.Values(sizes))
	for run := range runs {
		for i, size := range sizes {
			between := i > 0 && i < len(sizes)-1
			for j := range modes {
				m := modes[(j+run)%len(modes)]
				if !between || !m.restarts() {
					all = append(all, trial{run + 1, size, m})
				}
			}
		}
	}
	return all
}

// budget knows what trials take, and decides what there is still time for.
type budget struct {
	limit time.Duration // 0: none
	took  map[trial]time.Duration
}

// What a trial takes before one like it was seen, without KVM.
const (
	fixedCost = 15 * time.Second
	costOfMiB = 7 * time.Millisecond
)

func (b *budget) expect(t trial) time.Duration {
	t.Run = 0
	if d, ok := b.took[t]; ok {
		return d
	}
	return fixedCost + time.Duration(t.DiskMiB)*costOfMiB
}

// remaining is what trials will take.
func (b *budget) remaining(trials []trial) time.Duration {
	var sum time.Duration
	for _, t := range trials {
		sum += b.expect(t)
	}
	return sum
}

// learn takes what the last trial of its kind took: the first one also makes the
// guest.
func (b *budget) learn(t trial, d time.Duration) {
	t.Run = 0
	if b.took == nil {
		b.took = map[trial]time.Duration{}
	}
	b.took[t] = d
}

// refuse says why there is no time for a trial; empty: there is.
func (b *budget) refuse(t trial, spent time.Duration) string {
	left := b.limit - spent
	if need := b.expect(t); b.limit > 0 && need > left {
		return fmt.Sprintf("it takes about %s and %s are left of the time limit", need.Round(time.Second), max(0, left).Round(time.Second))
	}
	return ""
}
