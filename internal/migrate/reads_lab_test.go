//go:build lab

package migrate_test

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// A guest that reads from its new host while its disks follow: its move is called
// off, then survives every accident that lets both instances live, then loses its
// target. SYSTEMS 6.4, 6.5, 6.6, 6.7
func TestLocalReads(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "reads", More: []droveway.Disk{{Name: "data", SizeMiB: 32, Format: droveway.QCOW2}}})
	home := hostOf(t, g)

	j := readsLocal(t, g)
	_, err := stage.API.CancelJob(t.Context(), j.Name)
	check(t, err)
	endsOn(t, g, j, droveway.JobFailed, home)
	mustBeGone(t, other(home), g.Name)

	j = readsLocal(t, g)
	c := &cell{T: t, g: g, row: row{job: move, step: "hydrate"}, job: j, from: home, to: other(home)}
	for _, a := range accidents {
		if a.passes() {
			a.do(c)
			works(t, g)
		}
	}
	_, err = stage.API.SetMoveRate(t.Context(), g.Name, client.RateRequest{})
	check(t, err)
	if r := result(t, endsOn(t, g, j, droveway.JobSucceeded, other(home))); !r.Equal || r.SyncBytes != (diskMiB+32)<<20 {
		t.Errorf("result %+v: want both disks equal", r)
	}
	mustBeGone(t, home, g.Name)
	if s := g.Observer.Summary(); len(s.Boots()) != 1 {
		t.Errorf("boot ids %v: want the one it had", s.Boots())
	}

	j = readsLocal(t, g)
	kill(t, qemu, home, g.Name)
	endsOn(t, g, j, droveway.JobFailed, other(home))
	nothingLost(t, g)
}

// readsLocal moves a guest, slowly, and returns while its disks follow.
func readsLocal(t *testing.T, g *scene.Guest) droveway.Job {
	t.Helper()
	m := client.MoveRequest{To: other(hostOf(t, g)), SyncRate: 2 << 20, Reads: "local"}
	j, err := stage.API.MoveMachine(t.Context(), g.Name, m, "")
	check(t, err)
	reached(t, j, "hydrate")
	works(t, g)
	return j
}

// endsOn waits until a move has ended as it should, and the guest works there.
func endsOn(t *testing.T, g *scene.Guest, j droveway.Job, as droveway.JobState, host string) droveway.Job {
	t.Helper()
	j, err := stage.Wait(t.Context(), j, nil)
	check(t, err)
	works(t, g)
	if h := hostOf(t, g); j.State != as || h != host {
		t.Errorf("the move %s, the machine is on %s: want %s, on %s: %s", j.State, h, as, host, j.Error)
	}
	return j
}
