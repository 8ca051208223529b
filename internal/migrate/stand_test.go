package migrate

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// Memory that stands still is sent anew, from both sides prepared anew, a few times; then
// the move fails, and the guest has not noticed.
func TestMemoryStandsStill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		still int64 // attempts
		sent  int64
		state droveway.JobState
		at    int
	}{
		"once":   {1, 2, droveway.JobSucceeded, 1},
		"always": {100, standings + 1, droveway.JobFailed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, startBus(t))
			w.moves.stand = 200 * time.Millisecond
			var sent atomic.Int64
			for _, n := range w.hosts {
				n.stop()
				n.wrap = func(d *mem.Driver) hypervisor.Driver { return stopping{d, &sent, c.still} }
				n.start()
			}
			req := w.request()
			steps := w.moves.steps(req)
			after(steps, "switchover", func() { w.write(1, 2) })
			rec := w.moveWith(req, steps)
			if rec.Job.State != c.state || sent.Load() != c.sent {
				t.Fatalf("the move %s: %s; memory was sent %d times", rec.Job.State, rec.Job.Error, sent.Load())
			}
			if c.at == 0 {
				if !strings.Contains(rec.Job.Error, "did not reach host "+w.hosts[1].name+": it stands still") {
					t.Errorf("the job says %q", rec.Job.Error)
				}
				w.mustLive(0, 1)
				return
			}
			if why := w.result(rec).Memory.Why; !strings.Contains(why, "sent anew") || !strings.Contains(why, "1 times") {
				t.Errorf("why %q", why)
			}
			w.mustLive(1, 1, 2)
		})
	}
}

// stopping is a driver whose first connections for memory stand still.
type stopping struct {
	*mem.Driver
	sent  *atomic.Int64
	still int64
}

func (d stopping) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Instance, error) {
	i, err := d.Driver.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return stoppingGuest{i.(*mem.Instance), d}, nil
}

func (d stopping) Attach(ctx context.Context, h hypervisor.Handle) (hypervisor.Instance, error) {
	i, err := d.Driver.Attach(ctx, h)
	if err != nil {
		return nil, err
	}
	return stoppingGuest{i.(*mem.Instance), d}, nil
}

type stoppingGuest struct {
	*mem.Instance
	stopping
}

func (g stoppingGuest) Send(ctx context.Context, to, peer string, rate int64) error {
	g.sent.Add(1)
	return g.Instance.Send(ctx, to, peer, rate)
}

func (g stoppingGuest) Sent(ctx context.Context) (hypervisor.MemoryProgress, error) {
	p, err := g.Instance.Sent(ctx)
	if g.sent.Load() <= g.still && p.State == hypervisor.Held {
		p.State, p.Moved = hypervisor.Sending, 1<<20
	}
	return p, err
}
