package machine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// patience is how long a test waits for what takes milliseconds.
const patience = 15 * time.Second

// control is a controller and a manager of jobs that run, over hosts in memory.
type control struct {
	*Controller
	t      *testing.T
	fleet  *fleet.Fleet
	hosts  *fakeHosts
	leases *lease.Leases
	events *events
	js     jetstream.JetStream
}

// events keeps what is published, each identifier once, as the bus does.
type events struct {
	mu    sync.Mutex
	known map[string]bool
	types []string
}

func (e *events) Publish(_ context.Context, ev droveway.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known[ev.ID] {
		e.known[ev.ID] = true
		e.types = append(e.types, ev.Type+" "+ev.Subject)
	}
	return nil
}

// of gives the events about one object, without their subject.
func (e *events) of(subject string) (types []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.types {
		if what, ok := strings.CutSuffix(t, " "+subject); ok {
			types = append(types, what)
		}
	}
	return types
}

// newControl prepares a controller whose hosts report; nothing runs yet.
func newControl(t *testing.T) *control {
	t.Helper()
	js := startStore(t)
	s, err := store.Buckets(t.Context(), js)
	must(t, err)
	k := &control{t: t, fleet: fleetOf(s), hosts: newFakeHosts(), leases: lease.New(s.Leases, js), events: &events{known: map[string]bool{}}, js: js}
	k.hosts.report = func(ctx context.Context, o host.Observed) {
		if err := observe(ctx, js, o.Host+".machine."+o.Machine, o); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	k.fresh()
	return k
}

// fresh makes a new controller over the same tables, as a restart does.
func (k *control) fresh() {
	log := slog.New(slog.DiscardHandler)
	jobs := job.NewManager(job.ManagerConfig{Jobs: k.fleet.Stores.Jobs, Leases: k.leases, Owner: "test", Log: log, Sole: true})
	k.Controller = New(Config{Fleet: k.fleet, Hosts: host.NewClient(k.hosts), Events: k.events, Jobs: jobs, Leases: k.leases, Log: log})
	for _, kind := range k.Kinds() {
		jobs.Register(kind)
	}
}

// run runs the controller and its jobs until the test, or stop, ends them.
func (k *control) run() (stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	end := errors.New("end of the test")
	var all sync.WaitGroup
	all.Go(func() {
		if err := k.Run(ctx); !errors.Is(err, end) {
			k.t.Errorf("the controller ended: %v", err)
		}
	})
	all.Go(func() {
		if err := k.cfg.Jobs.Run(ctx); err != nil {
			k.t.Errorf("the jobs ended: %v", err)
		}
	})
	stop = func() { cancel(end); all.Wait() }
	k.t.Cleanup(stop)
	return stop
}

// observe writes what a host sees, as its agent does.
func observe(ctx context.Context, js jetstream.JetStream, key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = js.Publish(ctx, "$KV."+store.BucketObserved+"."+key, b)
	}
	return err
}

// join adds a host that is ready; expire ends its lease.
func (k *control) join(name, address string) (expire func()) {
	k.t.Helper()
	must(k.t, k.fleet.Hosts.Create(k.t.Context(), name, droveway.Host{Meta: droveway.Meta{Name: name}, Status: droveway.HostStatus{State: droveway.HostJoined}}))
	must(k.t, observe(k.t.Context(), k.js, name+"."+reportName, droveway.HostStatus{
		Address: address, CPUs: 4, MemoryMiB: 4096, DiskFreeMiB: 10000,
	}))
	return k.beat(name)
}

func (k *control) beat(name string) (expire func()) {
	k.t.Helper()
	l, err := k.leases.Acquire(k.t.Context(), leases+"."+name, name, time.Minute)
	must(k.t, err)
	return func() { must(k.t, l.Release(k.t.Context())) }
}

func (k *control) wait(what string, ok func() bool) {
	k.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	m, _, err := k.fleet.Machines.Get(k.t.Context(), "web")
	k.t.Fatalf("%s: not within %s; machine %+v (%v), events %q", what, patience, m, err, k.events.of("machine/web"))
}

// waitState waits until a machine is in a state and no job has it.
func (k *control) waitState(name string, want droveway.MachineState) (m droveway.Machine) {
	k.t.Helper()
	k.wait(name+" is "+string(want), func() bool {
		var err error
		m, _, err = k.fleet.Machines.Get(k.t.Context(), name)
		return err == nil && m.Status.State == want && m.Status.Job == ""
	})
	return m
}

// waitEnd waits until a job has ended.
func (k *control) waitEnd(j droveway.Job) droveway.Job {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	must(k.t, k.cfg.Jobs.Watch(ctx, j.Name, func(now droveway.Job) error { j = now; return nil }))
	return j
}

func (k *control) waitHost(name string, want droveway.HostState) {
	k.t.Helper()
	k.wait("host "+name+" is "+string(want), func() bool {
		h, _, err := k.fleet.Hosts.Get(k.t.Context(), name)
		return err == nil && h.Status.State == want
	})
}

// create makes the machine web and waits for it to run.
func (k *control) create() droveway.Machine {
	k.t.Helper()
	m := web(true)
	m.Spec.Disks = m.Spec.Disks[1:]
	_, err := k.Create(k.t.Context(), m, "")
	must(k.t, err)
	return k.waitState("web", droveway.MachineRunning)
}

func TestLifeOfAMachine(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.run()
	k.join("a", "192.0.2.1")
	k.waitHost("a", droveway.HostReady)
	k.create()
	j, err := k.Stop(t.Context(), "web", time.Second, "")
	must(t, err)
	k.waitState("web", droveway.MachineStopped)
	if err := k.cfg.Jobs.Cancel(t.Context(), j.Name); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("cancel of a job that ended: %v", err)
	}
	_, err = k.Start(t.Context(), "web", "")
	must(t, err)
	k.waitState("web", droveway.MachineRunning)
	_, err = k.Remove(t.Context(), "web", "")
	must(t, err)
	way := []string{
		"machine.pending", "machine.placed", "machine.defining", "machine.running",
		"machine.stopped", "machine.defining", "machine.running", "machine.removed",
	}
	k.wait("the events", func() bool { return went(k.events.of("machine/web"), way) })
	if seen := k.hosts.see("a", "web"); seen.role != host.RoleNone {
		t.Errorf("host a has it as %s", seen.role)
	}
}

// went reports whether events tell of a way, in order and of nothing else. The
// table keeps the newest value of each machine, so whoever watches may miss a state
// that it only passes through, and no other.
func went(events, way []string) bool {
	passing := []string{"machine.pending", "machine.placed", "machine.defining"}
	for _, state := range way {
		switch {
		case len(events) > 0 && events[0] == state:
			events = events[1:]
		case !slices.Contains(passing, state):
			return false
		}
	}
	return len(events) == 0
}

// SYSTEMS 1.8: a guest that is killed outside Droveway is reported, and
// started again, with a token that refuses whatever is left of the old one.
func TestKilledGuestIsStartedAgain(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.run()
	k.join("a", "192.0.2.1")
	k.waitHost("a", droveway.HostReady)
	was := k.create()
	k.hosts.kill(t.Context(), "a", "web")
	k.wait("the drift is told", func() bool { return slices.Contains(k.events.of("machine/web"), "machine.stopped") })
	is := k.waitState("web", droveway.MachineRunning)
	if seen := k.hosts.see("a", "web"); is.Status.Token <= was.Status.Token || seen.instance.Token != is.Status.Token {
		t.Errorf("token %d after %d, on the host %d", is.Status.Token, was.Status.Token, seen.instance.Token)
	}
	if !is.Spec.Running || k.hosts.count() != 2 {
		t.Errorf("wanted to run: %t; started %d times", is.Spec.Running, k.hosts.count())
	}
}

// A report that was overtaken by what a job did since changes nothing: the host
// itself is asked.
func TestStaleReport(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.run()
	k.join("a", "192.0.2.1")
	k.waitHost("a", droveway.HostReady)
	was := k.create()
	asked := k.hosts.asked()
	k.hosts.report(t.Context(), host.Observed{Machine: "web", Host: "a", Role: host.RoleIdle, Instance: hypervisor.Gone, Token: was.Status.Token})
	k.wait("the host is asked", func() bool { return k.hosts.asked() > asked })
	k.hosts.report(t.Context(), host.Observed{Machine: "web", Host: "a", Role: host.RoleIdle, Instance: hypervisor.Gone, Token: was.Status.Token - 1})
	k.wait("the host is asked again", func() bool { return k.hosts.asked() > asked+1 })
	if is := get(t, k.fleet, "web"); is.Status != was.Status || slices.Contains(k.events.of("machine/web"), "machine.stopped") {
		t.Errorf("%+v after %+v", is.Status, was.Status)
	}
}

// A start where the disks are gone ends, and says so.
func TestStartWithoutDisks(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	settled(t, k.fleet, k.hosts, false)
	k.run()
	k.beat("a")
	k.waitState("web", droveway.MachineStopped)
	k.hosts.lose("a", "web")
	j, err := k.Start(t.Context(), "web", "")
	must(t, err)
	j = k.waitEnd(j)
	m := k.waitState("web", droveway.MachineFailed)
	if j.State != droveway.JobFailed || !strings.Contains(m.Status.Message, "disks are not there") || m.Spec.Running {
		t.Errorf("job %s (%s), machine %+v", j.State, j.Error, m)
	}
	_, err = k.Remove(t.Context(), "web", "")
	must(t, err)
	k.wait("it is removed", func() bool {
		_, _, err := k.fleet.Machines.Get(t.Context(), "web")
		return droveway.Is(err, droveway.NotFound)
	})
}

// A host that is gone for good holds up nothing once it is taken out of the
// fleet: neither the undoing of a creation nor a removal.
func TestHostTakenOut(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	settled(t, k.fleet, k.hosts, true)
	k.run()
	k.beat("a")
	k.hosts.setFail(func(_, verb string) error {
		switch verb {
		case "create":
			return droveway.Errorf(droveway.Conflict, "the disk is broken")
		case "networks":
			return nil
		}
		return droveway.Errorf(droveway.Unavailable, "host a is not connected")
	})
	m := web(true)
	m.Name = "new"
	j, err := k.Create(t.Context(), m, "")
	must(t, err)
	k.wait("the creation is being undone", func() bool {
		j, err = k.cfg.Jobs.Get(t.Context(), j.Name)
		return err == nil && j.State == droveway.JobUnwinding && j.Retry != ""
	})
	must(t, k.fleet.Hosts.Delete(t.Context(), "a"))
	if j = k.waitEnd(j); j.State != droveway.JobFailed || !strings.Contains(j.Error, "the disk is broken") {
		t.Errorf("job %s: %s", j.State, j.Error)
	}
	k.waitState("web", droveway.MachineUnknown)
	j, err = k.Remove(t.Context(), "web", "")
	must(t, err)
	if j = k.waitEnd(j); j.State != droveway.JobSucceeded {
		t.Errorf("job %s: %s", j.State, j.Error)
	}
}

// A machine that cannot be started is failed and says why, stays wanted, and
// runs once the reason is gone.
func TestFailedStartIsTriedAgain(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.run()
	k.join("a", "192.0.2.1")
	k.waitHost("a", droveway.HostReady)
	k.create()
	k.hosts.setFail(func(_, verb string) error {
		if verb == "start" {
			return droveway.Errorf(droveway.Conflict, "no memory left")
		}
		return nil
	})
	k.hosts.kill(t.Context(), "a", "web")
	m := k.waitState("web", droveway.MachineFailed)
	if !strings.Contains(m.Status.Message, "no memory left") || !m.Spec.Running {
		t.Errorf("%+v", m)
	}
	k.hosts.setFail(nil)
	m = k.waitState("web", droveway.MachineRunning)
	if m.Status.Message != "" {
		t.Errorf("message of a machine that runs: %s", m.Status.Message)
	}
}

// A host that is silent makes its machines unknown, each transition is told
// once, and nothing is started anywhere.
func TestSilentHost(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.grace = 0
	k.run()
	expire := k.join("a", "192.0.2.1")
	k.join("b", "192.0.2.2")
	k.waitHost("a", droveway.HostReady)
	k.create()
	expire()
	m := k.waitState("web", droveway.MachineUnknown)
	if !strings.Contains(m.Status.Message, "host a is silent") {
		t.Errorf("message %q", m.Status.Message)
	}
	if _, err := k.Start(t.Context(), "web", ""); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("start on a silent host: %v", err)
	}
	k.beat("a")
	k.waitState("web", droveway.MachineRunning)
	k.wait("the host's events", func() bool {
		return slices.Equal(k.events.of("host/a"), []string{"host.ready", "host.unknown", "host.ready"})
	})
	k.wait("the machine's events", func() bool {
		got := k.events.of("machine/web")
		return len(got) >= 3 && slices.Equal(got[len(got)-3:], []string{"machine.running", "machine.unknown", "machine.running"})
	})
	if k.hosts.count() != 1 {
		t.Errorf("started %d times", k.hosts.count())
	}
}

// Every host hears of every network and every other host, once.
func TestHostsAreToldTheNetworks(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.run()
	k.join("a", "192.0.2.1")
	k.join("b", "192.0.2.2")
	heard := func(name string, networks, peers int) func() bool {
		return func() bool {
			told := k.hosts.told(name)
			return len(told) > 0 && len(told[len(told)-1].Networks) == networks && len(told[len(told)-1].Peers) == peers
		}
	}
	k.wait("a knows b", heard("a", 1, 2))
	k.wait("b knows a", heard("b", 1, 2))
	must(t, k.fleet.Networks.Create(t.Context(), "lan", testNetwork("lan", "192.168.5.0/24")))
	k.wait("a knows the network", heard("a", 2, 2))
	k.wait("b knows the network", heard("b", 2, 2))
	before := len(k.hosts.told("a"))
	_, err := k.fleet.Hosts.Update(t.Context(), "b", func(h *droveway.Host) error { h.Spec.Cordoned = true; return nil })
	must(t, err)
	k.queue.Add(keyNetworks + "a")
	must(t, k.fleet.Networks.Delete(t.Context(), "lan"))
	k.wait("a forgets the network", heard("a", 1, 2))
	if got := len(k.hosts.told("a")); got != before+1 {
		t.Errorf("a was told %d times, want once", got-before)
	}
}

// A claim that outlived its job is freed, be the job gone or ended, and one whose
// job goes on is not.
func TestLeftOverClaimIsFreed(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	settled(t, k.fleet, k.hosts, true)
	running, err := k.cfg.Jobs.Submit(t.Context(), KindStart, subject("web"), startArgs{Machine: "no-such"}, job.SubmitOptions{})
	must(t, err)
	_, err = Claim(t.Context(), k.fleet, "web", running.Name)
	must(t, err)
	again, err := k.reconcileMachine(t.Context(), "web")
	if m := get(t, k.fleet, "web"); err != nil || again != claimLook || m.Status.Job != running.Name {
		t.Errorf("again in %s, %v, held by %q", again, err, m.Status.Job)
	}
	k.beat("a")
	k.run() // the job ends: there is no such machine
	k.waitState("web", droveway.MachineRunning)
	_, err = Claim(t.Context(), k.fleet, "web", "machine-move-of-old")
	must(t, err)
	k.waitState("web", droveway.MachineRunning)
}

// A server that starts takes a host for alive until it had time to come back,
// and does not tell again what was told before.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	stop := k.run()
	expire := k.join("a", "192.0.2.1")
	k.waitHost("a", droveway.HostReady)
	k.create()
	way := []string{"machine.pending", "machine.placed", "machine.defining", "machine.running"}
	k.wait("the events", func() bool { return went(k.events.of("machine/web"), way) })
	stop()
	expire()
	k.fresh()
	k.run()
	k.join("b", "192.0.2.2")
	k.waitHost("b", droveway.HostReady)
	k.beat("a")
	k.wait("a is told the networks", func() bool { return len(k.hosts.told("a")) > 1 })
	k.waitState("web", droveway.MachineRunning)
	if got := k.events.of("machine/web"); !went(got, way) {
		t.Errorf("events %q", got)
	}
	if got := k.events.of("host/a"); slices.Contains(got, "host.unknown") {
		t.Errorf("events %q", got)
	}
}

// A restart that comes too late, after the wish for the machine to stand, does
// nothing.
func TestRestartYieldsToStop(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	settled(t, k.fleet, k.hosts, false)
	k.run()
	k.beat("a")
	j, err := k.cfg.Jobs.Submit(t.Context(), KindStart, subject("web"), startArgs{Machine: "web", Restart: true}, job.SubmitOptions{})
	must(t, err)
	j = k.waitEnd(j)
	m := k.waitState("web", droveway.MachineStopped)
	if j.State != droveway.JobFailed || m.Spec.Running || k.hosts.see("a", "web").state != hypervisor.Gone {
		t.Errorf("job %s (%s), machine %+v", j.State, j.Error, m)
	}
}
