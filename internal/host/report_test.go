package host

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/hypervisor"
)

// reported waits until the server has heard of the machine what it should.
func (r *rig) reported(role Role, s hypervisor.State) {
	r.t.Helper()
	table := store.NewTable[Observed](r.stores.Observed, "a.machine")
	eventually(r.t, "the server hears of role "+string(role), func() bool {
		o, _, err := table.Get(r.t.Context(), web)
		return err == nil && o.Role == role && o.Instance == s && o.Host == "a"
	})
}

// SYSTEMS 1.8: what happens to a guest outside Droveway is reported, as what the
// host does itself is.
func TestReports(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	status := store.NewTable[droveway.HostStatus](r.stores.Observed, "a")
	eventually(t, "the host reports itself", func() bool {
		s, _, err := status.Get(ctx, "host")
		return err == nil && s.CPUs > 0 && s.MemoryMiB > 0 && s.Capabilities["mem"] == "yes"
	})
	n.runs(5)
	r.reported(RoleHome, hypervisor.Running)
	must(t, n.guest().Pause(ctx))
	r.reported(RoleHome, hypervisor.Paused)
	n.driver.Kill(web)
	r.reported(RoleHome, hypervisor.Gone)
	_, err := r.Leave(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	r.reported(RoleSecondary, hypervisor.Gone)
	_, err = r.Release(ctx, "a", ref(5))
	must(t, err)
	r.reported(RoleNone, hypervisor.Gone)
	_, err = r.Create(ctx, "a", instance(6), nil)
	must(t, err)
	r.reported(RoleIdle, hypervisor.Gone)
	_, err = r.Remove(ctx, "a", ref(6))
	must(t, err)
	r.reported(RoleNone, hypervisor.Gone)
}

// What the server may not have heard of an earlier process the next one says.
func TestReportOfWhatIsNoMore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.stop()
	rec := record{Instance: Instance{Machine: web, Token: 5, UUID: "one"}, Role: RoleNone}
	must(t, n.records.save(&rec))
	n.start()
	r.reported(RoleNone, hypervisor.Gone)
}
