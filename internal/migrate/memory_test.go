package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// A guest whose memory does not come to an end, on hosts that cannot let it follow,
// is told of with both rates; one that is still in its first passes is not.
func TestMemoryThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := &world{t: t}
	for passes, told := range map[int64]bool{maxPasses: false, maxPasses + 1: true} {
		p := hypervisor.MemoryProgress{
			State: hypervisor.Sending, Total: 1 << 30, Iterations: passes, Moved: 7 << 30, Rate: 100 << 20, DirtyRate: 250 << 20, Setup: 40 * time.Millisecond,
		}
		rec := w.move([]job.Step[state]{{Name: "memory", Do: func(ctx context.Context, r *run) error {
			r.State.Result.Memory = &Memory{Way: precopy}
			if err := (&Moves{}).converge(ctx, r, p); err != nil {
				return err
			}
			r.Result(r.State.Result)
			return nil
		}}})
		got := w.result(rec).Memory
		if got == nil || got.Passes != passes || got.LinkRate != p.Rate || got.DirtyRate != p.DirtyRate || got.Bytes != p.Moved || got.SetupMS != 40 {
			t.Fatalf("%d passes: %+v", passes, got)
		}
		why := strings.Contains(got.Why, "changes 250.0 MiB a second") && strings.Contains(got.Why, "100.0 MiB a second are sent") && strings.Contains(got.Why, "--abort")
		if why != told || !told && got.Why != "" {
			t.Errorf("%d passes: why %q", passes, got.Why)
		}
	}
}

// Memory whose passes do not end on several connections is sent in another way, at once:
// the job tells why, both hosts are prepared anew, and the move succeeds.
func TestMemoryTakesAnotherWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	var sent []hypervisor.Way
	for _, n := range w.hosts {
		n.stop()
		n.wrap = func(d *mem.Driver) hypervisor.Driver { return restless{d, &sent} }
		n.start()
		_, err := w.fleet.Hosts.Update(t.Context(), n.name, func(h *droveway.Host) error {
			h.Status.Capabilities = map[string]string{parallelCapability: "yes"}
			return nil
		})
		must(t, err)
	}
	req := w.request()
	req.Memory = parallel
	steps := w.moves.steps(req)
	after(steps, "switchover", func() { w.write(1, 2) })
	rec := w.moveWith(req, steps)
	if rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	if got := w.result(rec).Memory; got.Way != precopy || !strings.Contains(got.Why, "did not end") {
		t.Errorf("memory %+v", got)
	}
	if want := []hypervisor.Way{hypervisor.Parallel, hypervisor.Postcopy}; !slices.Equal(sent, want) {
		t.Errorf("memory was sent by %q, want %q", sent, want)
	}
	w.mustLive(1, 1, 2)
}

// restless is a driver whose guests change their memory so fast that passes over it on
// several connections do not end. It notes how memory was sent.
type restless struct {
	*mem.Driver
	sent *[]hypervisor.Way
}

func (d restless) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Instance, error) {
	i, err := d.Driver.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &restlessGuest{Instance: i.(*mem.Instance), sent: d.sent}, nil
}

func (d restless) Attach(ctx context.Context, h hypervisor.Handle) (hypervisor.Instance, error) {
	i, err := d.Driver.Attach(ctx, h)
	if err != nil {
		return nil, err
	}
	return &restlessGuest{Instance: i.(*mem.Instance), sent: d.sent}, nil
}

type restlessGuest struct {
	*mem.Instance
	sent *[]hypervisor.Way
	way  hypervisor.Way
}

func (g *restlessGuest) PrepareMemory(_ context.Context, w hypervisor.Way) error {
	g.way = w
	return nil
}
func (g *restlessGuest) DirtyRate(context.Context) (int64, error) { return 250 << 20, nil }
func (g *restlessGuest) Hurry(context.Context) error              { return nil }

func (g *restlessGuest) Send(ctx context.Context, to, peer string, rate int64) error {
	*g.sent = append(*g.sent, g.way)
	return g.Instance.Send(ctx, to, peer, rate)
}

func (g *restlessGuest) Sent(ctx context.Context) (hypervisor.MemoryProgress, error) {
	p, err := g.Instance.Sent(ctx)
	if g.way == hypervisor.Parallel && p.State == hypervisor.Held {
		p.State, p.Iterations, p.Rate, p.DirtyRate = hypervisor.Sending, maxPasses+1, 100<<20, 250<<20
	}
	return p, err
}

// What contradicts itself is refused before anything is done.
func TestInstantIsNotParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	req := w.request()
	for memory, capability := range map[string]string{parallel: parallelCapability, compressed: hypervisor.CompressedCapability} {
		req.Instant, req.Memory = true, memory
		if _, err := w.moves.Plan(t.Context(), req); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "--instant or --memory "+memory) {
			t.Errorf("planned: %v", err)
		}
		req.Instant = false
		var e *droveway.Error
		if _, err := w.moves.Plan(t.Context(), req); !errors.As(err, &e) || e.Feature != capability+"=yes" {
			t.Errorf("planned to a host that cannot: %v", err)
		}
	}
}
