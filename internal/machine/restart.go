package machine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
)

// A machine that will not stay up is started at once, then after restartMin,
// then after twice as long each time, up to restartMax. Having run that long it
// counts as well again.
const (
	restartMin = time.Second
	restartMax = time.Minute
)

// restarts remembers the attempts to start machines.
type restarts struct {
	mu sync.Mutex
	of map[string]restart
}

type restart struct {
	job   string        // the last attempt
	delay time.Duration // before the next one
	at    time.Time     // of the next one
}

func (r *restarts) get(machine string) restart {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[machine]
}

func (r *restarts) set(machine string, s restart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[machine] = s
}

func (r *restarts) forget(machine string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, machine)
}

// next is the state after an attempt by a job at a time.
func (r restart) next(job string, now time.Time) restart {
	delay := min(max(restartMin, 2*r.delay), restartMax)
	return restart{job: job, delay: delay, at: now.Add(delay)}
}

// restart submits a job that starts the machine, or says how long to wait. The
// revision makes it one job however often this is repeated.
func (c *Controller) restart(ctx context.Context, m *droveway.Machine, rev uint64) (again time.Duration, err error) {
	r := c.restarts.get(m.Name)
	if wait := time.Until(r.at); wait > 0 {
		return wait, nil
	}
	id := fmt.Sprintf("restart-%s-%d", m.Name, rev)
	j, err := c.cfg.Jobs.Submit(ctx, KindStart, subject(m.Name), startArgs{Machine: m.Name, Restart: true}, job.SubmitOptions{RequestID: id})
	if err != nil {
		return 0, err
	}
	c.metrics.restarts.Inc()
	c.cfg.Log.Info("starting a machine that should run", "machine", m.Name, "host", m.Status.Host, "job", j.Name)
	r = r.next(j.Name, time.Now())
	c.restarts.set(m.Name, r)
	return r.delay, nil
}

// startError is why the last attempt to start a machine failed, empty if it did
// not.
func (c *Controller) startError(ctx context.Context, machine string) (string, error) {
	r := c.restarts.get(machine)
	if r.job == "" {
		return "", nil
	}
	j, err := c.cfg.Jobs.Get(ctx, r.job)
	if droveway.Is(err, droveway.NotFound) {
		return "", nil
	}
	if err != nil || j.State != droveway.JobFailed {
		return "", err
	}
	return j.Error, nil
}
