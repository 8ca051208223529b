package service

import (
	"context"
	"encoding/json"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/graph"
)

// WaveLimits bound a wave. 0: no limit.
type WaveLimits struct {
	Hosts  int
	Bytes  int64         // on the disks of all its hosts
	Window time.Duration // in which its disks have to be copied
	Rate   int64         // of the copies, bytes a second; 0: as measured in past moves
}

// Waves plans the moves of all applications.
func (s *Service) Waves(ctx context.Context, l WaveLimits) ([]graph.Wave, error) {
	if l.Rate == 0 {
		var err error
		if l.Rate, err = s.measuredRate(ctx); err != nil {
			return nil, err
		}
	}
	if l.Window > 0 {
		if l.Rate == 0 {
			return nil, droveway.Errorf(droveway.Invalid, "no move has ended yet, so nothing says how fast copies are: give a rate besides the window")
		}
		if fits := int64(l.Window.Seconds() * float64(l.Rate)); l.Bytes == 0 || fits < l.Bytes {
			l.Bytes = max(fits, 1)
		}
	}
	sizes, err := s.sizes(l.Bytes > 0)
	if err != nil {
		return nil, err
	}
	g := s.snapshot()
	return g.Waves(g.Applications(), graph.Limits{Hosts: l.Hosts, Size: l.Bytes, Sizes: sizes, Rate: l.Rate})
}

// sizes are what the disks of hosts hold; if all have to be known, Conflict says
// whose is not.
func (s *Service) sizes(all bool) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes := map[string]int64{}
	for host := range s.sites {
		if c, ok := s.joiner.Coverage(host); ok && c.DiskBytes > 0 {
			sizes[host] = c.DiskBytes
		} else if all {
			return nil, droveway.Errorf(droveway.Conflict, "host %s has not said how much its disks hold: wait for its probe, or plan without a limit of bytes or time", host)
		}
	}
	return sizes, nil
}

// moveKind is the kind of the jobs that copy disks and measure how fast.
const moveKind = "machine-move"

// measuredRate is how many bytes a second past moves copied; 0: there were none.
func (s *Service) measuredRate(ctx context.Context) (int64, error) {
	all, err := s.jobs.List(ctx)
	if err != nil {
		return 0, err
	}
	var bytes, ms int64
	for _, r := range all {
		var moved struct {
			MS    int64 `json:"sync_ms"`
			Bytes int64 `json:"sync_bytes"`
		}
		if r.Job.Kind != moveKind || r.Job.State != droveway.JobSucceeded || json.Unmarshal(r.Job.Result, &moved) != nil {
			continue
		}
		bytes, ms = bytes+moved.Bytes, ms+moved.MS
	}
	if ms <= 0 {
		return 0, nil
	}
	return bytes * 1000 / ms, nil
}
