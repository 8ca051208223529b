package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A connection whose packets were lost for a while is silent for as long again: each wait
// of TCP is twice the one before (RFC 6298, section 5.5), and a hypervisor sets no limit
// to it. So memory that stands still is sent anew over another connection, once both
// hosts answer.
const (
	standMax  = 20 * time.Second
	standings = 5 // in a job, until it fails
)

// motion notices memory that stands still.
type motion struct {
	moved int64
	since time.Time
}

// stood is for how long nothing of it has moved.
func (m *motion) stood(p hypervisor.MemoryProgress) time.Duration {
	if m.since.IsZero() || p.Moved != m.moved {
		m.moved, m.since = p.Moved, time.Now()
	}
	return time.Since(m.since)
}

// errStands is why memory is sent anew.
var errStands = errors.New("it is sent anew, over another connection")

// stands ends an attempt to send memory that stands still.
func (m *Moves) stands(ctx context.Context, r *run) error {
	s := r.State
	s.Stood, s.Anew = s.Stood+1, true
	if err := r.Save(ctx); err != nil {
		return err
	}
	r.Log.Warn("memory stands still though both hosts answer: it is sent anew", "times", s.Stood)
	return droveway.Errorf(droveway.Unavailable, "memory has stood still for %s, though both hosts answer; %w", m.stand, errStands)
}

// unreached is the error of memory that did not get to the target. After it had stood
// still the way there may not be whole yet, and is tried again.
func (m *Moves) unreached(s *state, why string) error {
	err := droveway.Errorf(droveway.Unavailable, "the memory of machine %s did not reach host %s: %s", s.Source.Machine, s.To, why)
	if s.Stood == 0 || s.Stood >= standings {
		return job.Permanent(err)
	}
	s.Anew = true
	return err
}
