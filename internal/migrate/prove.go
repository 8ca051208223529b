package migrate

import (
	"context"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/volume"
)

// prove compares both copies of every disk by hashes, first while the guest
// writes, then, with the guest held still, what differed; if nothing does the
// disks leave their origin.
func (m *Moves) prove(ctx context.Context, r *run) error {
	if err := m.flush(ctx, r.State); err != nil {
		return m.provedOrLost(ctx, r, err)
	}
	differ, err := m.firstRound(ctx, r)
	if err != nil {
		return m.provedOrLost(ctx, r, err)
	}
	if _, err := m.cfg.Hosts.Hold(ctx, r.State.To, r.State.target()); err != nil {
		return m.provedOrLost(ctx, r, err)
	}
	verr := m.lastRound(ctx, r.State, differ)
	o, err := m.cfg.Hosts.Verdict(ctx, r.State.To, host.Verdict{Ref: r.State.target(), Equal: verr == nil})
	switch {
	case verr != nil:
		return verr // the guest goes on, both copies stay, and the proof begins anew
	case err != nil:
		return m.provedOrLost(ctx, r, err)
	case o.Role != host.RoleHome:
		return droveway.Errorf(droveway.Unavailable, "host %s has not taken the verdict that the disks of machine %s are equal: it has the machine as %s", r.State.To, o.Machine, o.Role)
	}
	return m.proved(r)
}

func (m *Moves) proved(r *run) error {
	r.State.Result.Equal = true
	live(r, r.State.To, "both copies were proved equal")
	return nil
}

// provedOrLost looks, after an error, whether an earlier attempt proved all, or
// the target died.
func (m *Moves) provedOrLost(ctx context.Context, r *run, cause error) error {
	o, err := m.cfg.Hosts.Show(ctx, r.State.To, r.State.Target.Machine)
	switch {
	case droveway.Is(err, droveway.Unavailable) && m.lost(ctx, r.State.To):
		return m.comeBackWith(ctx, r, "the target was taken out of the fleet as lost while its disks were proved",
			"if it had found them equal already, what the guest wrote there since then is lost")
	case err != nil:
		return err
	case o.Role == host.RoleHome:
		return m.proved(r)
	case gone(o):
		return m.comeBack(ctx, r, "the target's instance died while its disks were proved")
	}
	return cause
}

// flush writes out what the target's hypervisor still has in memory of the
// tables of qcow2 disks: the first round reads the files behind its back, and
// might else read another chunk than the guest does. Holding the guest still does
// that.
func (m *Moves) flush(ctx context.Context, s *state) error {
	if !slices.ContainsFunc(s.Target.Disks, func(d host.Disk) bool { return d.Format != droveway.Raw }) {
		return nil
	}
	if _, err := m.cfg.Hosts.Hold(ctx, s.To, s.target()); err != nil {
		return err
	}
	_, err := m.cfg.Hosts.Verdict(ctx, s.To, host.Verdict{Ref: s.target()})
	return err
}

// firstRound compares all, and gives the chunks of each disk that differed.
func (m *Moves) firstRound(ctx context.Context, r *run) (map[string][]int64, error) {
	h, err := m.cfg.Hosts.Hydration(ctx, r.State.To, r.State.target())
	if err != nil {
		return nil, err
	}
	if h.Settled { // an earlier attempt proved it, and its host could not write that down
		return nil, nil
	}
	if h.Instance == hypervisor.Gone || !h.Ready {
		return nil, droveway.Errorf(droveway.Unavailable, "the disks are not mirrored at the moment")
	}
	differ, done, began := map[string][]int64{}, int64(0), time.Now()
	for _, d := range r.State.Target.Disks {
		source, target := m.sides(r.State, d.Name)
		chunks, err := volume.Compare(ctx, source, target, d.Size, func(n, _ int64) {
			r.Progress(soFar(done+n, h.Total, time.Since(began)))
		})
		if err != nil {
			return nil, err
		}
		differ[d.Name], done = chunks, done+d.Size
	}
	return differ, nil
}

// soFar is the progress of work that goes at an even pace. A rate that was measured
// for less than a second says nothing.
func soFar(done, total int64, past time.Duration) droveway.Progress {
	p := droveway.Progress{Done: done, Total: total}
	if past >= time.Second {
		p.Rate = int64(float64(done) / past.Seconds())
		p.Remaining = remaining(total-done, p.Rate)
	}
	return p
}

func (m *Moves) lastRound(ctx context.Context, s *state, differ map[string][]int64) error {
	for disk, chunks := range differ {
		source, target := m.sides(s, disk)
		rest, err := volume.CompareChunks(ctx, source, target, chunks)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return left(disk, len(rest))
		}
	}
	return nil
}

func (m *Moves) sides(s *state, disk string) (source, target volume.Summer) {
	return side{m.cfg.Hosts, s.From, s.source(), disk}, side{m.cfg.Hosts, s.To, s.target(), disk}
}

// side is one host's copy of a disk.
type side struct {
	hosts *host.Client
	host  string
	ref   host.Ref
	disk  string
}

func (s side) Sums(ctx context.Context, chunks []int64) ([]volume.Sum, error) {
	return s.hosts.Sums(ctx, s.host, host.Sums{Ref: s.ref, Disk: s.disk, Chunks: chunks})
}
