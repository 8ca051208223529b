//go:build lab

package migrate_test

import (
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// A move that is called off while its disk follows goes back with the guest's
// memory: the same boot, the same TCP session, nothing lost.
func TestCalledOffAfterTheSwitchover(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "back"})
	from := hostOf(t, g)
	to := other(from)
	asked := time.Now()
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: to, SyncRate: 8 << 20}, "")
	check(t, err)
	reached(t, j, "hydrate")
	works(t, g)
	_, err = stage.API.CancelJob(t.Context(), j.Name)
	check(t, err)
	if j, err = stage.Wait(t.Context(), j, nil); err != nil {
		t.Fatal(err)
	}
	seen := g.Client.Between(asked, time.Now())
	works(t, g)
	if j.State != droveway.JobFailed || hostOf(t, g) != from {
		t.Errorf("the move %s, the machine is on %s: want failed, on %s: %s", j.State, hostOf(t, g), from, j.Error)
	}
	if s := g.Observer.Summary(); len(s.Boots()) != 1 || seen.Breaks > 0 {
		t.Errorf("boots %v, the client's session broke %d times: want one, none", s.Boots(), seen.Breaks)
	}
	mustBeGone(t, to, g.Name)
	t.Logf("the client's longest gap %s", seen.LongestGap.Round(time.Millisecond))
	nothingLost(t, g)
}

// SYSTEMS 12.2, 12.3, 12.10
func TestRestartOnASecondHost(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "restart"})
	from := hostOf(t, g)
	for i, mode := range []string{"reboot", "refresh"} {
		to := other(from)
		boots := len(g.Observer.Summary().Boots())
		asked := time.Now()
		j, err := stage.API.RestartMachine(t.Context(), g.Name, client.RestartRequest{Mode: mode, GraceSeconds: 3}, "")
		if j, err = stage.Must(t.Context(), j, err); err != nil {
			t.Fatal(err)
		}
		works(t, g)
		var r client.RestartResult
		check(t, client.Decode(j.Result, &r))
		if r.Mode != mode || r.From != from || r.To != to || r.Away <= 0 || r.Confirmed.Before(asked) || !r.Equal {
			t.Errorf("%s: result %+v: want from %s to %s, confirmed", mode, r, from, to)
		}
		if got := len(g.Observer.Summary().Boots()) - boots; got != 1-i {
			t.Errorf("%s: booted %d times, want %d", mode, got, 1-i)
		}
		if seen := g.Client.Between(asked, time.Now()); mode == "refresh" && seen.Breaks > 0 {
			t.Errorf("refresh broke the client's session: %s", seen.Cause)
		}
		mustBeGone(t, from, g.Name)
		t.Logf("%s: away for %d ms", mode, r.Away)
		from = to
	}
	nothingLost(t, g)
}
