package migrate

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

func (w *world) restart(mode Mode) RestartRequest {
	r := RestartRequest{Machine: name, Mode: mode, Within: 5 * time.Second}
	must(w.t, r.complete())
	r.Grace = time.Second
	return r
}

// speak lets the guests on a host say something, as those that have booted do.
func (w *world) speak(on int) {
	w.t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.hosts[on].dir, "instances", "*", "console.log"))
	must(w.t, err)
	for _, p := range paths {
		if err := os.WriteFile(p, []byte("login:"), 0o600); !errors.Is(err, fs.ErrNotExist) { // it may just be removed
			must(w.t, err)
		}
	}
}

// spoken is the steps of a restart whose guest says something once it runs.
func (w *world) spoken(r RestartRequest, on int) []job.Step[state] {
	steps := w.moves.restartSteps(r)
	before(steps, "verify", func() { w.speak(on) })
	return steps
}

// SYSTEMS 12.2, 12.3, 12.10
func TestRestart(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	for _, mode := range []Mode{Reboot, Refresh} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, conn)
			steps := w.spoken(w.restart(mode), 1)
			before(steps, "verify", func() {
				if len(w.events.all) > 0 {
					t.Errorf("confirmed before the guest gave a sign of life: %v", w.events.all)
				}
			})
			rec := w.move(steps)
			if rec.Job.State != droveway.JobSucceeded {
				t.Fatalf("the restart %s: %s", rec.Job.State, rec.Job.Error)
			}
			w.mustLive(1, 1)
			w.mustConfirm(mode, 0, 1)
		})
	}
}

// mustConfirm checks that the restart was confirmed once, with mode and hosts.
func (w *world) mustConfirm(mode Mode, from, to int) {
	w.t.Helper()
	if len(w.events.all) != 1 {
		w.t.Fatalf("%d confirmations, want one", len(w.events.all))
	}
	var r Result
	must(w.t, json.Unmarshal(w.events.all[0].Data, &r))
	if r.Mode != mode || r.From != w.hosts[from].name || r.To != w.hosts[to].name || r.Confirmed.IsZero() {
		w.t.Errorf("confirmation %+v: want mode %s, from %s, to %s", r, mode, w.hosts[from].name, w.hosts[to].name)
	}
}

// Without a second host with room it restarts in place, and says so. SYSTEMS 12.4
func TestRestartInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	must(t, w.fleet.Hosts.Delete(t.Context(), w.hosts[1].name))
	p, err := w.moves.PlanRestart(t.Context(), RestartRequest{Machine: name})
	must(t, err)
	if p.Mode != InPlace || p.To != w.hosts[0].name {
		t.Errorf("plan %+v: want in place on %s", p, w.hosts[0].name)
	}
	steps := w.spoken(w.restart(Reboot), 0)
	old := w.show(0).Token
	if rec := w.move(steps); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the restart %s: %s", rec.Job.State, rec.Job.Error)
	}
	w.mustLive(0, 1)
	w.mustConfirm(InPlace, 0, 0)
	if o := w.show(0); o.Token <= old {
		t.Errorf("token %d after %d: it is no new instance", o.Token, old)
	}
}

// SYSTEMS 12.5, 12.6
func TestRestartFallsBack(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	dies := func(w *world) { w.guest(1).Kill() }
	for _, c := range []struct {
		name, step string
		do         func(*world)
		untouched  bool
	}{
		{"second host dies while it is prepared", "switchover", dies, true},
		{"second host dies after the switch", "hydrate", dies, false},
		{"no sign of life", "verify", func(w *world) {}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, conn)
			steps := w.moves.restartSteps(w.restart(Reboot))
			if c.step != "verify" {
				steps = w.spoken(w.restart(Reboot), 1)
			}
			before(steps, c.step, func() { c.do(w) })
			token := w.show(0).Token
			if rec := w.move(steps); rec.Job.State != droveway.JobFailed {
				t.Fatalf("the restart %s, want failed", rec.Job.State)
			}
			w.mustLive(0, 1)
			if o := w.show(0); c.untouched != (o.Token == token) {
				t.Errorf("token %d after %d, untouched: want %t", o.Token, token, c.untouched)
			}
		})
	}
}

// A restart survives a kill of the server at each write of the journal, and a
// failure of each step; in every end one guest runs.
func TestRestartSurvives(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	jobtest.Run(t, func(t *testing.T) jobtest.World[state] {
		w := newWorld(t, conn)
		r := w.restart(Reboot)
		return jobtest.World[state]{
			Args:  r,
			Steps: w.spoken(r, 1),
			Check: func(t *testing.T, succeeded bool) {
				w.t = t
				if succeeded {
					w.mustLive(1, 1)
				} else {
					w.mustLive(0, 1)
				}
			},
		}
	})
}

// The first host keeps the machine if the second cannot be reserved.
func TestRestartWithoutReservation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.hosts[1].driver.Fail("Start", droveway.Errorf(droveway.Unsupported, "%w", errBroken))
	if rec := w.move(w.moves.restartSteps(w.restart(Reboot))); rec.Job.State != droveway.JobFailed {
		t.Fatalf("the restart %s, want failed", rec.Job.State)
	}
	w.mustLive(0, 1)
	if o := w.show(0); o.Role != host.RoleHome || o.Instance != hypervisor.Running {
		t.Errorf("role %s, instance %s", o.Role, o.Instance)
	}
}
