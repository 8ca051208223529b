package migrate

import (
	"errors"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A move whose guest is to read locally goes to a host that can do so, and to no
// other. What the guest writes meanwhile is on both hosts.
func TestLocalReadsNeedAHostThatCan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	req := w.request()
	req.Reads = string(hypervisor.ReadLocal)
	_, err := w.moves.Plan(t.Context(), req)
	var e *droveway.Error
	if !errors.As(err, &e) || e.Kind != droveway.Unsupported || e.Feature != "reads.local=yes" {
		t.Errorf("planned to a host that cannot: %v", err)
	}
	_, err = w.fleet.Hosts.Update(t.Context(), req.To, func(h *droveway.Host) error {
		h.Status.Capabilities = map[string]string{hypervisor.ReadLocalCapability: "yes"}
		return nil
	})
	must(t, err)
	steps := w.moves.steps(req)
	after(steps, "switchover", func() { w.write(1, 2) })
	if rec := w.move(steps); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	w.mustLive(1, 1, 2)
}
