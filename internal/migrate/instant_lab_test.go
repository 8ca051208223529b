//go:build lab

package migrate_test

import (
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// The guest leaves before its memory: the same boot, nothing lost, nothing of its
// memory wrong, though it changes all of it all the time.
func TestInstantMove(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "instant", MemoryMiB: 256, Work: scene.Dirty(64)})
	from := hostOf(t, g)
	to := other(from)
	asked := time.Now()
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: to, Instant: true}, "")
	if j, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	seen := g.Client.Between(asked, time.Now())
	works(t, g)
	s := g.Observer.Summary()
	if len(s.Boots()) != 1 || s.Wrong() > 0 || seen.Breaks > 0 {
		t.Errorf("boots %v, wrong %d, session broke %d times: want one, none, none", s.Boots(), s.Wrong(), seen.Breaks)
	}
	r := result(t, j)
	if r.Live != to || !r.Equal {
		t.Errorf("result %+v", r)
	}
	t.Logf("running after %d ms, QEMU's downtime %d ms, the client's longest gap %s", r.RequestToRunning, r.Downtime, seen.LongestGap.Round(time.Millisecond))
	nothingLost(t, g)
}

// If the source's instance dies while memory follows, the memory is lost, and the
// machine boots from its current disks: nothing acknowledged is lost.
func TestInstantMoveLosesItsSource(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "torn", MemoryMiB: 512, Work: scene.Dirty(256)})
	from := hostOf(t, g)
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: other(from), Instant: true}, "")
	check(t, err)
	reached(t, j, "follow")
	kill(t, qemu, from, g.Name)
	if j, err = ended(t, j); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	s := g.Observer.Summary()
	if s.Rewound() > 0 || s.Wrong() > 0 {
		t.Errorf("%d acknowledged records were lost, %d wrong", s.Rewound(), s.Wrong())
	}
	if j.State == droveway.JobFailed && hostOf(t, g) != from {
		t.Errorf("the move failed (%s), and the machine is on %s", j.Error, hostOf(t, g))
	}
	t.Logf("the move %s, boots %d: %s", j.State, len(s.Boots()), j.Error)
	nothingLost(t, g)
}
