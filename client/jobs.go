package client

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/droveway/droveway"
)

// Jobs lists the jobs, by name.
func (c *Client) Jobs(ctx context.Context) ([]droveway.Job, error) {
	return list[droveway.Job](ctx, c, "v1", "jobs")
}

// Job gives one job.
func (c *Client) Job(ctx context.Context, name string) (droveway.Job, error) {
	return get[droveway.Job](ctx, c, "v1", "jobs", name)
}

// CancelJob asks a job to end; it may refuse if it is too late.
func (c *Client) CancelJob(ctx context.Context, name string) (droveway.Job, error) {
	var j droveway.Job
	err := c.run(ctx, call{method: http.MethodPost, path: []string{"v1", "jobs", name, "cancel"}}, &j)
	return j, err
}

// A watch outlives a restart of the server: it tries again for patience after
// it last heard something.
const (
	patience   = time.Minute
	retryPause = 500 * time.Millisecond
)

// WatchJob calls fn with the job as it is, and after each change until it has
// ended, and returns the ended job.
func (c *Client) WatchJob(ctx context.Context, name string, fn func(droveway.Job)) (droveway.Job, error) {
	var last droveway.Job
	for heard := time.Now(); ; {
		err := c.stream(ctx, call{method: http.MethodGet, path: []string{"v1", "jobs", name, "events"}}, func(m message) error {
			heard = time.Now()
			var j droveway.Job
			if err := json.Unmarshal(m.Data, &j); err != nil {
				return droveway.Errorf(droveway.Internal, "read the state of job %s: %w", name, err)
			}
			last = j
			fn(j)
			return nil
		})
		if last.State.Ended() {
			return last, nil
		}
		if err := again(ctx, err, heard); err != nil {
			return last, err
		}
	}
}

// FromNow begins Events with what happens after the call.
const FromNow uint64 = math.MaxUint64

// Events calls fn with the events of the fleet, and goes on until ctx ends or
// fn fails. Since is the sequence number after which to begin, 0 for all that there
// are, or FromNow. Subject picks the events of one object, as "machine/web-1"; empty:
// all.
func (c *Client) Events(ctx context.Context, since uint64, subject string, fn func(seq uint64, e droveway.Event) error) error {
	var failed error
	for heard := time.Now(); ; {
		err := c.stream(ctx, eventCall(since, subject), func(m message) error {
			heard = time.Now()
			seq, e, err := event(m)
			if err == nil {
				err = fn(seq, e)
			}
			since, failed = seq, err
			return err
		})
		if failed != nil {
			return failed
		}
		if err := again(ctx, err, heard); err != nil {
			return err
		}
	}
}

// again waits before the next attempt, or says why there is none.
func again(ctx context.Context, err error, heard time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && !droveway.Is(err, droveway.Unavailable) {
		return err
	}
	if time.Since(heard) > patience {
		return errors.Join(err, droveway.Errorf(droveway.Unavailable, "the server has been silent for %s", patience))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(retryPause):
		return nil
	}
}
