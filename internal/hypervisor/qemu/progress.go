package qemu

import (
	"context"
	"errors"
	"slices"

	"github.com/droveway/droveway/internal/hypervisor"
)

// blockJob is what query-block-jobs says of one job (BlockJobInfo in
// qapi/block-core.json).
type blockJob struct {
	ID       string `json:"device"`
	Type     string `json:"type"`
	Len      int64  `json:"len"`
	Offset   int64  `json:"offset"`
	Paused   bool   `json:"paused"`
	Ready    bool   `json:"ready"`
	Synced   *bool  `json:"actively-synced"` // since QEMU 8.2
	IOStatus string `json:"io-status"`
	Status   string `json:"status"`
	Error    string `json:"error"`
}

func (j blockJob) concluded() bool { return j.Status == "concluded" }

// streamed reports whether the job is a block-stream that has copied all, and waits
// to be ended.
func (j blockJob) streamed() bool { return j.Type == "stream" && j.Status == "pending" }

// copied is how much of size bytes is there. Len is of no use for it: it grows
// while the job looks for what there is to copy, and with what the guest writes.
func (j blockJob) copied(size int64) int64 {
	if j.Ready || j.Offset > size {
		return size
	}
	return j.Offset
}

// failing reports whether an error holds the job up. It is paused then; its I/O
// status may be well again by a request that was still under way.
func (j blockJob) failing() bool { return j.Paused || j.IOStatus != "" && j.IOStatus != "ok" }

// whole reports whether the mirror has all bytes and gets every write. Before
// 8.2 QEMU does not say the latter, but sets both at the same moment.
func (j blockJob) whole() bool {
	return (j.Ready && (j.Synced == nil || *j.Synced) || j.completing()) && !j.failing()
}

// completing reports whether the job was told to complete and is about to.
func (j blockJob) completing() bool { return j.Status == "waiting" || j.Status == "pending" }

func (i *Instance) jobs(ctx context.Context) (map[string]blockJob, error) {
	var all []blockJob
	if err := i.execute(ctx, "query-block-jobs", nil, &all); err != nil {
		return nil, err
	}
	jobs := map[string]blockJob{}
	for _, j := range all {
		jobs[j.ID] = j
	}
	return jobs, nil
}

// dismiss removes a job that has ended.
func (i *Instance) dismiss(ctx context.Context, n int) error {
	jobs, err := i.jobs(ctx)
	if err != nil {
		return err
	}
	if j, ok := jobs[syncJob(n)]; !ok || !j.concluded() {
		return nil
	}
	return i.execute(ctx, "job-dismiss", object{"id": syncJob(n)}, nil)
}

// abandon ends all copies and leaves the disks with their origins, which have
// every write.
func (i *Instance) abandon(ctx context.Context) error {
	for n := range i.h.Spec.Disks {
		if err := i.endCopy(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instance) endCopy(ctx context.Context, n int) error {
	i.graph.Lock()
	defer i.graph.Unlock()
	jobs, err := i.jobs(ctx)
	if err != nil {
		return err
	}
	id := syncJob(n)
	j, ok := jobs[id]
	switch {
	case !ok:
		return nil
	case j.concluded():
		return i.dismiss(ctx, n)
	}
	if err := i.execute(ctx, "block-job-cancel", object{"device": id, "force": true}, nil); err != nil {
		return err
	}
	err = i.until(ctx, func() (bool, error) {
		jobs, err := i.jobs(ctx)
		j, ok := jobs[id]
		return !ok || j.concluded(), err
	})
	if err != nil {
		return err
	}
	return i.dismiss(ctx, n)
}

// resumeCopies sets copies going that an error holds up, or has ended.
func (i *Instance) resumeCopies(ctx context.Context) error {
	drives, err := i.drives(ctx)
	if err != nil {
		return err
	}
	jobs, err := i.jobs(ctx)
	if err != nil {
		return err
	}
	for n, node := range drives {
		if j := jobs[syncJob(n)]; j.failing() && !j.concluded() {
			err = i.execute(ctx, "block-job-resume", object{"device": j.ID}, nil)
		} else {
			err = i.copy(ctx, n, node, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Hydration tells how far the disks are.
func (i *Instance) Hydration(ctx context.Context) (hypervisor.Hydration, error) {
	h, err := i.hydration(ctx)
	if err != nil {
		return h, i.about("hydration of", err)
	}
	return h, nil
}

func (i *Instance) hydration(ctx context.Context) (h hypervisor.Hydration, err error) {
	run, err := i.runState(ctx)
	if err != nil {
		return h, err
	}
	jobs, err := i.jobs(ctx)
	if err != nil {
		return h, err
	}
	if jobs, err = i.endStreams(ctx, jobs); err != nil {
		return h, err
	}
	drives, err := i.drives(ctx)
	if err != nil {
		return h, err
	}
	there, err := i.nodes(ctx)
	if err != nil {
		return h, err
	}
	m, err := i.migration(ctx)
	if err != nil {
		return h, err
	}
	h.Ready, h.Settled, h.Follows = true, true, m.following()
	for n, d := range i.h.Spec.Disks {
		h.Total += d.Size
		if drives[n] != localNode(n) || slices.Contains(there, originNode(n)) {
			h.Settled = false
		}
		whole := drives[n] == localNode(n)
		h.Leaving = h.Leaving || whole && !i.fills(n)
		if drives[n] == bothNode(n) || i.fills(n) {
			if whole, err = i.filled(ctx, n); err != nil {
				return h, err
			}
		}
		if whole {
			h.Done += d.Size
			continue
		}
		j, ok := jobs[syncJob(n)]
		h.Settled = false
		addJob(&h, d, j)
		if !ok && drives[n] != blankNode(n) {
			h.Paused, h.Error = true, "disk "+d.Name+" is not being copied"
		}
	}
	if run == "io-error" {
		h.Ready = false
	}
	return h, nil
}

func addJob(h *hypervisor.Hydration, d hypervisor.Disk, j blockJob) {
	h.Done += j.copied(d.Size)
	h.Ready = h.Ready && j.whole()
	switch {
	case j.concluded():
		h.Paused, h.Error = true, "the copy of disk "+d.Name+" has ended: "+j.Error
	case j.failing():
		h.Paused, h.Error = true, "the copy of disk "+d.Name+" is held up by an error (I/O status "+j.IOStatus+")"
	}
}

// SetRate shares a rate among the copies that are under way.
func (i *Instance) SetRate(ctx context.Context, rate int64) error {
	jobs, err := i.jobs(ctx)
	if err != nil {
		return i.about("set the copy rate of", err)
	}
	under := int64(0)
	for _, j := range jobs {
		if !j.Ready && !j.concluded() && !j.streamed() {
			under++
		}
	}
	if under > 0 && rate > 0 {
		rate = max(rate/under, 1)
	}
	var errs []error
	for id, j := range jobs {
		if !j.concluded() {
			errs = append(errs, i.setSpeed(ctx, id, rate))
		}
	}
	return i.about("set the copy rate of", errors.Join(errs...))
}

// setSpeed bounds a copy, unless it has all by now.
func (i *Instance) setSpeed(ctx context.Context, id string, rate int64) error {
	err := i.execute(ctx, "block-job-set-speed", object{"device": id, "speed": rate}, nil)
	if err == nil {
		return nil
	}
	jobs, jerr := i.jobs(ctx)
	if j, ok := jobs[id]; jerr == nil && (!ok || j.streamed()) {
		return nil
	}
	return err
}
