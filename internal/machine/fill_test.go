package machine

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// told notes what is published.
type told struct {
	mu  sync.Mutex
	all []droveway.Event
}

func (o *told) Publish(_ context.Context, e droveway.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.ContainsFunc(o.all, func(was droveway.Event) bool { return was.ID == e.ID }) {
		o.all = append(o.all, e)
	}
	return nil
}

func (o *told) kinds() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.all {
		all = append(all, e.Type)
	}
	return all
}

// fromFar is a machine whose disk is filled from an origin.
func fromFar() droveway.Machine {
	m := web(true)
	m.Spec.Disks = []droveway.Disk{{Name: "root", Origin: "far", Format: droveway.QCOW2}, {Name: "data", SizeMiB: 64, Format: droveway.Raw}}
	return m
}

// filler is a controller whose machines are filled.
type filler struct {
	*Controller
	f       *fleet.Fleet
	hosts   *fakeHosts
	origins *fakeOrigins
	told    *told
}

func newFiller(t *testing.T, js jetstream.JetStream) filler {
	t.Helper()
	w := filler{f: newFleet(t, js), hosts: newFakeHosts(), origins: newFakeOrigins("far"), told: &told{}}
	fill(t, w.f, "a")
	_, err := w.f.Hosts.Update(t.Context(), "a", func(h *droveway.Host) error {
		h.Status.Capabilities[hypervisor.FilledCapability] = "yes"
		return nil
	})
	must(t, err)
	w.Controller = New(Config{
		Fleet: w.f, Hosts: host.NewClient(w.hosts), Events: w.told, Log: slog.New(slog.DiscardHandler),
		Origins: w.origins, Served: Served{Port: "7424", Peer: "droveway-server"},
	})
	return w
}

// TestCreateFromOriginJob is killed at each write, and fails in each step.
func TestCreateFromOriginJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	jobtest.Run(t, func(t *testing.T) jobtest.World[creating] {
		w := newFiller(t, js)
		return world(t, createArgs{fromFar()}, w.defineCreate, func(t *testing.T, succeeded bool) {
			seen := w.hosts.see("a", "web")
			if !succeeded {
				if _, _, err := w.f.Machines.Get(t.Context(), "web"); !droveway.Is(err, droveway.NotFound) || seen.role != host.RoleNone {
					t.Errorf("left behind: record (%v), on the host %s", err, seen.role)
				}
				return
			}
			m := get(t, w.f, "web")
			if m.Origin() != nil || m.Status.Filling != nil || m.Spec.Disks[0].From != "https://example.org/far" || m.Spec.Disks[0].SizeMiB != 21 || m.Status.State != droveway.MachineRunning {
				t.Errorf("record: %+v", m)
			}
			want := &host.Origin{Name: "far", Port: "7424", Peer: "droveway-server", Rate: BootRate}
			if d := cmp.Diff(want, seen.instance.Disks[0].Origin); d != "" {
				t.Error(d)
			}
			if w.origins.count() > 0 || !slices.Contains(w.told.kinds(), "machine.whole") {
				t.Errorf("%d origins are left; told: %v", w.origins.count(), w.told.kinds())
			}
		})
	})
}

// make makes the machine, and runs the job to its end.
func (w filler) make(t *testing.T) droveway.Job {
	t.Helper()
	b, err := json.Marshal(createArgs{fromFar()})
	must(t, err)
	steps, err := w.defineCreate(b)
	must(t, err)
	return execute(t, steps).Job
}

// TestFillIsWatched has a source that gives nothing for a while. The machine is told
// to wait and to go on; meanwhile it shows how far it is, and refuses what needs all
// of its disk.
func TestFillIsWatched(t *testing.T) {
	t.Parallel()
	w := newFiller(t, startStore(t))
	w.hosts.lacking = 1 << 20
	w.origins.wait("far", "the source is away")
	done := make(chan droveway.Job, 1)
	go func() { done <- w.make(t) }()
	until(t, "the machine says why it waits", func() bool {
		m, _, err := w.f.Machines.Get(t.Context(), "web")
		return err == nil && m.Status.Filling != nil && m.Status.Filling.Waits == "the source is away" && slices.Contains(w.told.kinds(), "machine.waits")
	})
	m := get(t, w.f, "web")
	if m.Status.Filling.Total != 21<<20 || m.Status.Job != "" {
		t.Errorf("%+v", m.Status)
	}
	if err := MustBeWhole(&m); !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "https://example.org/far") {
		t.Errorf("got %v", err)
	}
	if _, err := w.PlanResize(t.Context(), Resize{Machine: "web", Size: Size{Disks: []SizedDisk{{"root", 100}}}}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a disk that is not whole may grow: %v", err)
	}
	w.origins.wait("far", "")
	until(t, "it goes on", func() bool { return slices.Contains(w.told.kinds(), "machine.goes-on") })
	w.hosts.mu.Lock()
	w.hosts.lacking = 0
	w.hosts.mu.Unlock()
	j := <-done
	var res Filled
	must(t, json.Unmarshal(j.Result, &res))
	if j.State != droveway.JobSucceeded || res.SHA256 != "abc" || res.From != "https://example.org/far" {
		t.Errorf("%+v, %+v", j, res)
	}
}

// watched is a journal that notes what the job waits for.
type watched struct {
	mu    sync.Mutex
	waits []string
}

func (w *watched) Save(_ context.Context, rec *job.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.waits); n == 0 || w.waits[n-1] != rec.Job.Waits {
		w.waits = append(w.waits, rec.Job.Waits)
	}
	return nil
}

// TestVerifyIsWatched has a source that gives nothing while all of it is read for its
// checksum: the disks are here, and the job and the machine say what they wait for.
func TestVerifyIsWatched(t *testing.T) {
	t.Parallel()
	w := newFiller(t, startStore(t))
	w.origins.wait("far", "the source is away")
	b, err := json.Marshal(createArgs{fromFar()})
	must(t, err)
	steps, err := w.defineCreate(b)
	must(t, err)
	rec, err := job.NewRecord(steps)
	must(t, err)
	rec.Job.Name = "machine-create-1"
	var seen watched
	done := make(chan error, 1)
	go func() {
		done <- job.Execute(t.Context(), rec, steps, job.Env{Journal: &seen, Log: slog.New(slog.DiscardHandler)})
	}()
	until(t, "the machine says what it waits for", func() bool {
		m, _, err := w.f.Machines.Get(t.Context(), "web")
		return err == nil && m.Status.Filling != nil && m.Status.Filling.Waits == "the source is away" && slices.Contains(w.told.kinds(), "machine.waits")
	})
	w.origins.wait("far", "")
	must(t, <-done)
	if d := cmp.Diff([]string{"", "the source is away", ""}, seen.waits); d != "" {
		t.Errorf("what the job waits for: %s", d)
	}
	if m := get(t, w.f, "web"); rec.Job.State != droveway.JobSucceeded || m.Status.Filling != nil || !slices.Contains(w.told.kinds(), "machine.goes-on") {
		t.Errorf("%+v; filling %+v; told: %v", rec.Job, m.Status.Filling, w.told.kinds())
	}
}

// TestUnboundAtLast has a host that cannot be told at first that the copy takes what it
// can. It would keep to a byte a second.
func TestUnboundAtLast(t *testing.T) {
	t.Parallel()
	w := newFiller(t, startStore(t))
	w.hosts.lacking = 1 << 20
	failures := 2
	w.hosts.setFail(func(_, verb string) error {
		if verb != "move.rate" || failures == 0 {
			return nil
		}
		failures--
		return droveway.Errorf(droveway.Unavailable, "the host is busy")
	})
	done := make(chan droveway.Job, 1)
	go func() { done <- w.make(t) }()
	until(t, "the copy is unbound", func() bool {
		w.hosts.mu.Lock()
		defer w.hosts.mu.Unlock()
		return len(w.hosts.rates) == 1
	})
	w.hosts.mu.Lock()
	w.hosts.lacking = 0
	w.hosts.mu.Unlock()
	if j := <-done; j.State != droveway.JobSucceeded || failures != 0 {
		t.Errorf("%+v, %d failures to come", j, failures)
	}
}

func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestFilledFromAnotherSource: a wrong checksum is said aloud, once the machine has
// run from it.
func TestFilledFromAnotherSource(t *testing.T) {
	t.Parallel()
	w := newFiller(t, startStore(t))
	w.origins.differs = true
	j := w.make(t)
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, "not abc as ordered") || !slices.Contains(w.told.kinds(), "machine.source-differs") {
		t.Errorf("%+v; told: %v", j, w.told.kinds())
	}
	if w.origins.count() > 0 {
		t.Error("its origin is left")
	}
}

// TestRemovedWhileItIsFilled ends the job, and the origin with it.
func TestRemovedWhileItIsFilled(t *testing.T) {
	t.Parallel()
	w := newFiller(t, startStore(t))
	w.hosts.lacking = 1 << 20
	done := make(chan droveway.Job, 1)
	go func() { done <- w.make(t) }()
	until(t, "it is filled", func() bool {
		m, _, err := w.f.Machines.Get(t.Context(), "web")
		return err == nil && m.Status.Filling != nil
	})
	must(t, w.f.Machines.Delete(t.Context(), "web"))
	if j := <-done; j.State != droveway.JobFailed || !strings.Contains(j.Error, "was removed") || w.origins.count() > 0 {
		t.Errorf("%+v; %d origins are left", j, w.origins.count())
	}
}

// TestOriginOfAnother: an origin fills one machine.
func TestOriginOfAnother(t *testing.T) {
	t.Parallel()
	w := newFiller(t, startStore(t))
	other := fromFar()
	other.Name = "db"
	must(t, w.f.Machines.Create(t.Context(), "db", other))
	m := fromFar()
	if _, err := w.disks(t.Context(), &m); !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "db") {
		t.Errorf("got %v", err)
	}
	m.Spec.Disks[0].Origin = "none"
	if _, err := w.disks(t.Context(), &m); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m meter
		p := m.measure(droveway.Progress{Total: 100 << 20})
		for n := range int64(5) {
			time.Sleep(time.Second)
			p = m.measure(droveway.Progress{Done: (n + 1) << 20, Total: 100 << 20})
		}
		if p.Rate != 1<<20 || p.Remaining != 95_000 {
			t.Errorf("%+v", p)
		}
	})
}
