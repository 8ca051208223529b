package migrate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// SYSTEMS 6.4, 6.8
func TestMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	steps := w.moves.steps(w.request())
	after(steps, "switchover", func() { w.write(1, 2) })
	rec := w.move(steps)
	if rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	w.mustLive(1, 1, 2)
	if r := w.result(rec); !r.Equal || r.Live != w.hosts[1].name || r.SyncBytes != diskSize {
		t.Errorf("result %+v: want equal copies, live on %s, %d bytes copied", r, w.hosts[1].name, int64(diskSize))
	}
}

// after calls fn when the step of a name is done.
func after(steps []job.Step[state], name string, fn func()) {
	for i, s := range steps {
		if s.Name != name {
			continue
		}
		steps[i].Do = func(ctx context.Context, r *run) error {
			err := s.Do(ctx, r)
			if err == nil {
				fn()
			}
			return err
		}
	}
}

// before calls fn when the step of a name is about to be done for the first time.
func before(steps []job.Step[state], name string, fn func()) {
	for i, s := range steps {
		if s.Name != name {
			continue
		}
		first := true
		steps[i].Do = func(ctx context.Context, r *run) error {
			if first {
				first = false
				fn()
			}
			return s.Do(ctx, r)
		}
	}
}

// The machine survives a kill of the server at each write of the journal, and a
// failure of each step.
func TestMoveSurvives(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	jobtest.Run(t, func(t *testing.T) jobtest.World[state] {
		w := newWorld(t, conn)
		return jobtest.World[state]{
			Args:  w.request(),
			Steps: w.moves.steps(w.request()),
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

// A guest that dies on either side, or an agent that is killed, at each step:
// the machine is on one host at the end, or its disks are, and no write is lost.
// SYSTEMS 6.4
func TestDeaths(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	for _, step := range []string{"reserve", "prepare", "memory", "switchover", "hydrate", "prove", "release"} {
		t.Run("agents/"+step, func(t *testing.T) { agentsDie(t, newWorld(t, conn), step) })
	}
	for _, step := range []string{"hydrate", "prove"} {
		t.Run("target/"+step, func(t *testing.T) { targetDies(t, newWorld(t, conn), step) })
	}
	for _, step := range []string{"memory", "switchover"} {
		t.Run("incoming/"+step, func(t *testing.T) { incomingDies(t, newWorld(t, conn), step) })
		t.Run("source/"+step, func(t *testing.T) { sourceDies(t, newWorld(t, conn), step) })
	}
}

func agentsDie(t *testing.T, w *world, step string) {
	steps := w.moves.steps(w.request())
	before(steps, step, func() {
		for _, h := range w.hosts {
			h.stop()
			h.start()
		}
	})
	if rec := w.move(steps); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	w.mustLive(1, 1)
}

func targetDies(t *testing.T, w *world, step string) {
	steps := w.moves.steps(w.request())
	before(steps, step, func() {
		w.write(1, 2)
		w.guest(1).Kill()
	})
	rec := w.move(steps)
	if rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	w.mustLive(0, 1, 2)
	if r := w.result(rec); r.Live != w.hosts[0].name {
		t.Errorf("the job says that host %s is live, want %s", r.Live, w.hosts[0].name)
	}
}

func incomingDies(t *testing.T, w *world, step string) {
	steps := w.moves.steps(w.request())
	before(steps, step, func() { w.guest(1).Kill() })
	if rec := w.move(steps); rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	w.mustLive(0, 1)
}

func sourceDies(t *testing.T, w *world, step string) {
	steps := w.moves.steps(w.request())
	before(steps, step, func() { w.guest(0).Kill() })
	if rec := w.move(steps); rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	w.mustHold(0, 1)
	w.mustBeEmpty(1)
}

// A move that is called off after the switchover goes back with the guest's
// memory, wherever the server is killed meanwhile.
func TestGoBack(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	for _, step := range []string{"hydrate", "prove"} {
		t.Run(step, func(t *testing.T) { goesBack(t, newWorld(t, conn), step, "") })
	}
	for _, verb := range []string{"Receive", "Send", "Handover", "TakeOver"} {
		t.Run("once failed "+verb, func(t *testing.T) { goesBack(t, newWorld(t, conn), "hydrate", verb) })
	}
}

// The target dies while the memory goes back: the guest boots from the source's
// disks.
func TestGoBackLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	steps := w.moves.steps(w.request())
	asked := make(chan int, 1)
	before(steps, "hydrate", func() {
		w.write(1, 2)
		w.hosts[1].driver.Fail("Handover", droveway.Errorf(droveway.Unavailable, "%w", errBroken))
		time.AfterFunc(200*time.Millisecond, func() {
			w.hosts[1].driver.Kill(name)
			w.hosts[1].driver.Fail("Handover", nil)
		})
		asked <- 1
	})
	if rec := w.moveAsked(steps, asked); rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	w.mustLive(0, 1, 2)
}

// A take-over that is refused leaves no second guest: the target's is ended
// before the source's boots.
func TestTakeOverRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.hosts[1].driver.Fail("TakeOver", droveway.Errorf(droveway.Conflict, "%w", errBroken))
	if rec := w.move(w.moves.steps(w.request())); rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	w.mustLive(0, 1)
}

func goesBack(t *testing.T, w *world, step, fails string) {
	steps := w.moves.steps(w.request())
	asked := make(chan int, 1)
	before(steps, step, func() {
		w.write(1, 2)
		if fails != "" {
			for _, h := range w.hosts {
				h.driver.Fail(fails, droveway.Errorf(droveway.Unavailable, "%w", errBroken))
				time.AfterFunc(100*time.Millisecond, func() { h.driver.Fail(fails, nil) })
			}
		}
		asked <- 1
	})
	rec := w.moveAsked(steps, asked)
	if rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	w.mustLive(0, 1, 2)
	if r := w.result(rec); r.Live != w.hosts[0].name {
		t.Errorf("the job says that host %s is live, want %s", r.Live, w.hosts[0].name)
	}
}

// A target that is silent is waited for; one that was taken out of the fleet is
// lost, and the machine boots from the source's disks, with every write.
func TestTargetLost(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	for _, step := range []string{"memory", "switchover", "hydrate", "prove"} {
		t.Run(step, func(t *testing.T) { targetLost(t, newWorld(t, conn), step) })
	}
}

func targetLost(t *testing.T, w *world, step string) {
	steps := w.moves.steps(w.request())
	written := []uint64{1}
	before(steps, step, func() {
		if step == "hydrate" || step == "prove" {
			w.write(1, 2)
			written = append(written, 2)
		}
		w.hosts[1].driver.Kill(name)
		w.hosts[1].stop()
		w.hosts[1].stop = func() {}
		must(t, w.fleet.Hosts.Delete(t.Context(), w.hosts[1].name))
	})
	rec := w.move(steps)
	if rec.Job.State != droveway.JobFailed {
		t.Fatalf("the move %s, want failed", rec.Job.State)
	}
	promises := step == "hydrate"
	if strings.Contains(rec.Job.Error, "nothing acknowledged is lost") != promises && step != "memory" && step != "switchover" {
		t.Errorf("promised of a target that is lost in step %s: %s", step, rec.Job.Error)
	}
	if o := w.show(0); o.Role != host.RoleHome || o.Instance != hypervisor.Running {
		t.Errorf("role %s, instance %s; want a running machine at home", o.Role, o.Instance)
	}
	w.mustHold(0, written...)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	for _, c := range []struct {
		name string
		req  Request
		set  func(*droveway.Machine)
		want droveway.Kind
	}{
		{"target equal to source", Request{Machine: name, To: w.hosts[0].name}, nil, droveway.Invalid},
		{"unknown machine", Request{Machine: "nobody", To: w.hosts[1].name}, nil, droveway.NotFound},
		{"unknown host", Request{Machine: name, To: "nowhere"}, nil, droveway.NotFound},
		{"stopped machine", w.request(), func(m *droveway.Machine) { m.Status.State = droveway.MachineStopped }, droveway.Conflict},
		{"second move", w.request(), func(m *droveway.Machine) { m.Status.Job = "move-0" }, droveway.Conflict},
		{"no room for the disk", w.request(), func(m *droveway.Machine) { m.Spec.Disks[0].SizeMiB = 1 << 20 }, droveway.Unavailable},
		{"missing capability", w.request(), func(m *droveway.Machine) { m.Spec.Requires = []string{"kvm"} }, droveway.Unsupported},
		{"missing flag of the CPU", w.request(), func(m *droveway.Machine) { m.Spec.CPU = "x86-64-v3" }, droveway.Unsupported},
	} {
		m, rev, err := w.fleet.Machines.Get(t.Context(), name)
		must(t, err)
		old := m
		old.Spec.Disks = append([]droveway.Disk(nil), m.Spec.Disks...)
		if c.set != nil {
			c.set(&m)
			rev, err = w.fleet.Machines.Put(t.Context(), name, m, rev)
			must(t, err)
		}
		_, err = w.moves.Plan(t.Context(), c.req)
		if !droveway.Is(err, c.want) {
			t.Errorf("%s: %v (%s), want %s", c.name, err, droveway.KindOf(err), c.want)
		}
		_, err = w.fleet.Machines.Put(t.Context(), name, old, rev)
		must(t, err)
	}
}

var errBroken = errors.New("made to fail")

// A driver that refuses any verb leaves the machine where it was, or brings it
// over in the end.
func TestDriverFails(t *testing.T) {
	t.Parallel()
	conn := startBus(t)
	for _, verb := range []string{"Receive", "Send", "Secondary"} {
		t.Run(verb, func(t *testing.T) {
			w := newWorld(t, conn)
			for _, h := range w.hosts {
				h.driver.Fail(verb, droveway.Errorf(droveway.Unsupported, "%w", errBroken))
			}
			if rec := w.move(w.moves.steps(w.request())); rec.Job.State != droveway.JobFailed {
				t.Fatalf("the move %s, want failed", rec.Job.State)
			}
			w.mustLive(0, 1)
		})
	}
}

// A guest is not handed over to a host that does not answer, nor held up for it for
// long: it goes on where it is. SYSTEMS 6.7
func TestTargetSilentBeforeTheHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.moves.silent = 300 * time.Millisecond
	steps := w.moves.steps(w.request())
	back := make(chan hypervisor.State, 1)
	before(steps, "memory", func() {
		w.hosts[1].stop()
		w.hosts[1].stop = func() {}
		time.AfterFunc(3*time.Second, func() {
			s, _ := w.hosts[0].driver.Guest(name).State(context.WithoutCancel(t.Context()))
			back <- s
			w.hosts[1].start()
		})
	})
	first := w.guest(0)
	rec := w.move(steps)
	if rec.Job.State != droveway.JobFailed || !strings.Contains(rec.Job.Error, "the guest stays on host "+w.hosts[0].name) {
		t.Errorf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	if s := <-back; s != hypervisor.Running {
		t.Errorf("while the target was silent the guest was %s", s)
	}
	w.mustLive(0, 1)
	if w.guest(0) != first {
		t.Error("the guest was started anew")
	}
}
