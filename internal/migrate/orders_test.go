package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/machine"
)

// What people order of moves, through a real manager of jobs: in the wrong order,
// twice, all at once.

// slow is a rate at which the copy of a disk does not end within a test.
const slow = 64 << 10

// manage gives the moves a manager of jobs. It runs until the function that it
// returns is called, or the test ends, as a server does.
func (w *world) manage() (stop func()) {
	w.t.Helper()
	s, err := store.Buckets(w.t.Context(), w.conn.JS)
	must(w.t, err)
	m := job.NewManager(job.ManagerConfig{
		Jobs: s.Jobs, Leases: lease.New(s.Leases, w.conn.JS), Owner: "test", Log: slog.New(slog.DiscardHandler), Sole: true,
	})
	w.moves.cfg.Jobs = m
	for _, k := range w.moves.Kinds() {
		m.Register(k)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); must(w.t, <-done) })
	w.t.Cleanup(stop)
	return stop
}

// moving is a world whose machine runs on the second host, with a copy that does
// not end by itself.
func moving(t *testing.T) (*world, droveway.Job) {
	t.Helper()
	w := newWorld(t, startBus(t))
	w.manage()
	r := w.request()
	r.Rate = slow
	j, err := w.moves.Start(t.Context(), r, "")
	must(t, err)
	w.reaches(j, "hydrate")
	return w, j
}

func (w *world) job(j droveway.Job) droveway.Job {
	w.t.Helper()
	j, err := w.moves.cfg.Jobs.Get(w.t.Context(), j.Name)
	must(w.t, err)
	return j
}

func (w *world) reaches(j droveway.Job, step string) {
	w.t.Helper()
	w.eventually("job "+j.Name+" is in step "+step, func() bool { return w.job(j).Step == step })
}

func (w *world) ends(j droveway.Job, want droveway.JobState) {
	w.t.Helper()
	w.eventually("job "+j.Name+" has ended", func() bool { return w.job(j).State.Ended() })
	if j = w.job(j); j.State != want {
		w.t.Errorf("job %s %s, want %s: %s", j.Name, j.State, want, j.Error)
	}
}

func refused(t *testing.T, err error, kind droveway.Kind, says string) {
	t.Helper()
	if !droveway.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s error %v, want %s with %q", droveway.KindOf(err), err, kind, says)
	}
}

// Calling a move off twice is calling it off once, and afterwards it is too late.
func TestAbortTwice(t *testing.T) {
	t.Parallel()
	w, j := moving(t)
	w.write(1, 2)
	for range 2 {
		must(t, w.moves.cfg.Jobs.Cancel(t.Context(), j.Name))
	}
	w.ends(j, droveway.JobFailed)
	w.mustLive(0, 1, 2)
	refused(t, w.moves.cfg.Jobs.Cancel(t.Context(), j.Name), droveway.Conflict, "has ended: there is nothing to cancel")
	w.mustLive(0, 1, 2)
}

func TestAbortAfterCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.manage()
	j, err := w.moves.Start(t.Context(), w.request(), "")
	must(t, err)
	w.ends(j, droveway.JobSucceeded)
	refused(t, w.moves.cfg.Jobs.Cancel(t.Context(), j.Name), droveway.Conflict, "has ended: there is nothing to cancel")
	w.mustLive(1, 1)
}

// A machine that moves is neither restarted nor moved elsewhere.
func TestOrdersInAMove(t *testing.T) {
	t.Parallel()
	w, j := moving(t)
	back := w.hosts[0].name
	for what, order := range map[string]func() error{
		"restart":           func() error { _, err := w.moves.Restart(t.Context(), w.restart(Reboot), ""); return err },
		"refresh":           func() error { _, err := w.moves.Restart(t.Context(), w.restart(Refresh), ""); return err },
		"plan of a restart": func() error { _, err := w.moves.PlanRestart(t.Context(), w.restart(Reboot)); return err },
		"move back":         func() error { _, err := w.moves.Start(t.Context(), Request{Machine: name, To: back}, ""); return err },
		"another request id": func() error {
			_, err := w.moves.Start(t.Context(), Request{Machine: name, To: back}, "other")
			return err
		},
	} {
		err := order()
		if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "held by job "+j.Name) {
			t.Errorf("%s: %v, want a conflict that names job %s", what, err, j.Name)
		}
	}
	if _, err := w.moves.Rate(t.Context(), name, 0); err != nil {
		t.Fatal(err)
	}
	w.ends(j, droveway.JobSucceeded)
	w.mustLive(1, 1)
}

// SYSTEMS 12.8: the same request twice, at the same time, is one restart with one
// confirmation; and again when it is over.
func TestSameRestartTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.manage()
	r := w.restart(Reboot)
	var jobs [4]droveway.Job
	var all sync.WaitGroup
	for i := range jobs {
		all.Go(func() {
			var err error
			if jobs[i], err = w.moves.Restart(t.Context(), r, "request-1"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.eventually("the restart has ended", func() bool { w.speak(1); return w.job(jobs[0]).State.Ended() })
	w.ends(jobs[0], droveway.JobSucceeded)
	again, err := w.moves.Restart(t.Context(), r, "request-1")
	must(t, err)
	for _, j := range append(jobs[:], again) {
		if j.Name != jobs[0].Name {
			t.Errorf("one request is job %s and job %s", jobs[0].Name, j.Name)
		}
	}
	w.mustLive(1, 1)
	w.mustConfirm(Reboot, 0, 1)
}

// A request of another machine is another request, and says so, instead of answering
// with a job that is none of its own.
func TestRequestOfAnotherMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.manage()
	other := w.another("web-2")
	j, err := w.moves.Start(t.Context(), w.request(), "mine")
	must(t, err)
	_, err = w.moves.Start(t.Context(), Request{Machine: other, To: w.hosts[1].name}, "mine")
	refused(t, err, droveway.Conflict, "was used for another job, "+j.Name+" of machine/web")
	w.ends(j, droveway.JobSucceeded)
	j, err = w.moves.Restart(t.Context(), RestartRequest{Machine: name, To: w.hosts[0].name, Within: time.Second}, "mine")
	must(t, err)
	_, err = w.moves.Restart(t.Context(), RestartRequest{Machine: other}, "mine")
	refused(t, err, droveway.Conflict, "was used for another job")
	w.eventually("the restart has ended", func() bool { return w.job(j).State.Ended() })
}

// SYSTEMS 12.9: of five restarts that race for the room of one, one gets it; the
// others restart in place, and none is lost.
func TestRestartsRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.manage()
	_, err := w.fleet.Hosts.Update(t.Context(), w.hosts[1].name, func(h *droveway.Host) error {
		h.Status.MemoryMiB = 100
		return nil
	})
	must(t, err)
	names := []string{name}
	for i := range 4 {
		names = append(names, w.another(fmt.Sprintf("web-%d", i)))
	}
	jobs := make([]droveway.Job, len(names))
	var all sync.WaitGroup
	for i, n := range names {
		all.Go(func() {
			r := w.restart(Reboot)
			r.Machine, r.Within = n, longest
			var err error
			if jobs[i], err = w.moves.Restart(t.Context(), r, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	modes := map[Mode]int{}
	for i, j := range jobs {
		w.eventually("the restart of "+names[i]+" has ended", func() bool { w.speak(0); w.speak(1); return w.job(j).State.Ended() })
		w.ends(j, droveway.JobSucceeded)
		j = w.job(j)
		modes[w.result(&job.Record{Job: j}).Mode]++
	}
	if modes[Reboot] != 1 || modes[InPlace] != 4 {
		t.Errorf("restarts by mode: %v, want one on the second host and four in place", modes)
	}
}

// another makes one more machine like the first, and lets it run beside it.
func (w *world) another(n string) string {
	w.t.Helper()
	m, _, err := w.fleet.Machines.Get(w.t.Context(), name)
	must(w.t, err)
	m.Name = n
	must(w.t, w.fleet.Machines.Create(w.t.Context(), n, m))
	i, err := machine.Instance(w.t.Context(), w.fleet, m, m.Status.Token)
	must(w.t, err)
	_, err = w.moves.cfg.Hosts.Create(w.t.Context(), w.hosts[0].name, i, nil)
	must(w.t, err)
	_, err = w.moves.cfg.Hosts.Start(w.t.Context(), w.hosts[0].name, i)
	must(w.t, err)
	return n
}

// SYSTEMS 6.12: the rate of a copy changes while it runs, and while neither
// server nor agent does; whoever goes on keeps to it.
func TestRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	stop := w.manage()
	r := w.request()
	r.Rate = slow
	j, err := w.moves.Start(t.Context(), r, "")
	must(t, err)
	w.reaches(j, "hydrate")
	w.toldRate(slow)
	_, err = w.moves.Rate(t.Context(), name, slow+1)
	must(t, err)
	w.toldRate(slow + 1)
	stop()
	_, err = w.moves.Rate(t.Context(), name, slow+2)
	must(t, err)
	w.hosts[1].stop()
	w.hosts[1].start()
	w.manage()
	w.toldRate(slow + 2)
	if got := w.job(j); !strings.Contains(string(got.Args), fmt.Sprintf(`"rate":%d`, slow+2)) || got.Step != "hydrate" {
		t.Errorf("job in step %s with %s", got.Step, got.Args)
	}
	_, err = w.moves.Rate(t.Context(), name, 0)
	must(t, err)
	w.ends(j, droveway.JobSucceeded)
	w.mustLive(1, 1)
}

// toldRate waits until the target's record says a rate.
func (w *world) toldRate(want int64) {
	w.t.Helper()
	var rec struct{ Origin struct{ Rate int64 } }
	w.eventually(fmt.Sprintf("the target has been told %d bytes a second", want), func() bool {
		b, err := os.ReadFile(filepath.Join(w.hosts[1].dir, "machines", name+".json"))
		return err == nil && json.Unmarshal(b, &rec) == nil && rec.Origin.Rate == want
	})
}

func TestRateRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.manage()
	ctx := t.Context()
	for what, order := range map[string]func(rate int64) error{
		"move": func(rate int64) error {
			_, err := w.moves.Start(ctx, Request{Machine: name, Rate: rate}, "")
			return err
		},
		"plan": func(rate int64) error { _, err := w.moves.Plan(ctx, Request{Machine: name, Rate: rate}); return err },
		"restart": func(rate int64) error {
			_, err := w.moves.Restart(ctx, RestartRequest{Machine: name, Rate: rate}, "")
			return err
		},
		"plan of restart": func(rate int64) error {
			_, err := w.moves.PlanRestart(ctx, RestartRequest{Machine: name, Rate: rate})
			return err
		},
		"new rate": func(rate int64) error { _, err := w.moves.Rate(ctx, name, rate); return err },
	} {
		if err := order(-1); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "0, which is no limit, or more") {
			t.Errorf("%s at a rate of -1: %v", what, err)
		}
	}
	_, err := w.moves.Rate(ctx, name, 0)
	refused(t, err, droveway.Conflict, "machine web does not move")
	_, err = w.moves.Rate(ctx, "nobody", 0)
	refused(t, err, droveway.NotFound, "nobody")
	for _, c := range []struct {
		j    droveway.Job
		says string
	}{
		{droveway.Job{Kind: "machine-stop", Subject: "machine/web"}, "machine/web does not move"},
		{droveway.Job{Kind: Kind, Subject: "machine/web", Done: []string{"claim", "hydrate"}, Step: "prove"}, "copied already"},
	} {
		_, err := withRate(c.j, 1)
		refused(t, err, droveway.Conflict, c.says)
	}
}

// unsent is a move that was called off, and whose guest's memory does not get back.
func unsent(t *testing.T) (*world, droveway.Job) {
	t.Helper()
	w, j := moving(t)
	w.moves.giveUp = 300 * time.Millisecond
	w.write(1, 2)
	w.hosts[1].driver.Fail("Send", droveway.Errorf(droveway.Unavailable, "no way back"))
	must(t, w.moves.cfg.Jobs.Cancel(t.Context(), j.Name))
	w.eventually("the call-off was given up", func() bool { return !w.job(j).Cancel })
	w.hosts[1].driver.Fail("Send", nil)
	if r := w.result(&job.Record{Job: w.job(j)}); r.Live != w.hosts[1].name || !strings.Contains(r.Why, "--abort tries it again") || !strings.Contains(r.Why, "no way back") {
		t.Errorf("the job says that host %s is live: %s", r.Live, r.Why)
	}
	if n := w.events.count("machine.stays"); n != 1 {
		t.Errorf("said %d times by an event", n)
	}
	if o := w.show(0); o.Role != host.RoleSecondary || o.Instance != hypervisor.Gone {
		t.Errorf("the source has it as %s, its instance is %s: want its disks only", o.Role, o.Instance)
	}
	w.write(1, 3)
	return w, j
}

// A call-off that cannot be carried out is given up: the move goes on to its end, and
// the machine can leave again, to the host that had made ready for it.
func TestAbortThatIsGivenUp(t *testing.T) {
	t.Parallel()
	w, j := unsent(t)
	_, err := w.moves.Rate(t.Context(), name, 0)
	must(t, err)
	w.ends(j, droveway.JobSucceeded)
	w.mustLive(1, 1, 2, 3)
	j, err = w.moves.Start(t.Context(), Request{Machine: name, To: w.hosts[0].name}, "")
	must(t, err)
	w.ends(j, droveway.JobSucceeded)
	w.mustLive(0, 1, 2, 3)
}

// It can be tried again.
func TestAbortAfterOneThatWasGivenUp(t *testing.T) {
	t.Parallel()
	w, j := unsent(t)
	must(t, w.moves.cfg.Jobs.Cancel(t.Context(), j.Name))
	w.ends(j, droveway.JobFailed)
	w.mustLive(0, 1, 2, 3)
}

// After it the target may die like in any other move.
func TestDeathAfterAnAbortThatWasGivenUp(t *testing.T) {
	t.Parallel()
	w, j := unsent(t)
	w.hosts[1].driver.Kill(name)
	w.ends(j, droveway.JobFailed)
	w.mustLive(0, 1, 2, 3)
}

// A move is called off while the target cannot read what it has: nothing there is
// touched, in whatever order it is mended and asked again, and the guest comes back with
// all that it has written there.
func TestAbortWhileTheTargetIsHeld(t *testing.T) {
	t.Parallel()
	w, j := moving(t)
	w.write(1, 2)
	target := w.hosts[1]
	guest, path := w.guest(1), filepath.Join(target.dir, "machines", name+".json")
	was, err := os.ReadFile(path)
	must(t, err)
	target.stop()
	must(t, os.WriteFile(path, was[:len(was)/2], 0o600))
	target.start()
	w.eventually("the target holds the machine", func() bool {
		o, err := w.moves.cfg.Hosts.Look(t.Context(), target.name, name)
		return err == nil && o.Held
	})
	must(t, w.moves.cfg.Jobs.Cancel(t.Context(), j.Name))
	w.eventually("the job says why it waits", func() bool { return strings.Contains(w.job(j).Retry, "show on host "+target.name) })
	if w.guest(1) != guest {
		t.Error("the guest on the target was touched")
	}
	must(t, os.WriteFile(path, was, 0o600))
	w.ends(j, droveway.JobFailed)
	w.mustLive(0, 1, 2)
}
