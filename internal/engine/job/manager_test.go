package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/store"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// office is a bucket of jobs and the events of its jobs.
type office struct {
	t      *testing.T
	conn   *bus.Conn
	stores *store.Stores

	mu     sync.Mutex
	events []droveway.Event
}

func newOffice(t *testing.T, c *bus.Conn) *office {
	t.Helper()
	s, err := store.Buckets(within(t, 20*time.Second), c.JS)
	if err != nil {
		t.Fatal(err)
	}
	return &office{t: t, conn: c, stores: s}
}

func (o *office) publish(_ context.Context, e droveway.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
	return nil
}

// manager makes one that does not run yet.
func (o *office) manager(kinds ...job.Kind) *job.Manager {
	m := job.NewManager(job.ManagerConfig{
		Jobs: o.stores.Jobs, Leases: lease.New(o.stores.Leases, o.conn.JS), Owner: "test",
		Publish: o.publish, Log: bustest.Log(), Metrics: prometheus.NewRegistry(), LeaseTTL: time.Second,
	})
	for _, k := range kinds {
		m.Register(k)
	}
	return m
}

// run runs a manager until the function it gives is called, or the test ends.
func (o *office) run(m *job.Manager) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := m.Run(ctx); err != nil {
			o.t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-ended }
	o.t.Cleanup(stop)
	return stop
}

// submit submits a job and gives its name.
func submit(t *testing.T, m *job.Manager, kind string, args any) string {
	t.Helper()
	j, err := m.Submit(within(t, 10*time.Second), kind, "machine/web-1", args, job.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return j.Name
}

// ended waits for a job to end.
func ended(t *testing.T, m *job.Manager, name string, want droveway.JobState) droveway.Job {
	t.Helper()
	var last droveway.Job
	err := m.Watch(within(t, 20*time.Second), name, func(j droveway.Job) error { last = j; return nil })
	if err != nil {
		t.Fatalf("job %s, last seen %s at %q: %v", name, last.State, last.Step, err)
	}
	if last.State != want {
		t.Errorf("job %s ended %s (%s), want %s", name, last.State, last.Error, want)
	}
	return last
}

// kind makes a kind whose steps do what they are told to.
func kind(name string, steps ...step) job.Kind {
	return job.Define(name, func(json.RawMessage) ([]step, error) { return steps, nil })
}

func doing(name string, do func(context.Context, *job.Run[none]) error) step {
	return step{Name: name, Do: do}
}

func nothing(context.Context, *job.Run[none]) error { return nil }

func await(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(15 * time.Second):
		t.Fatalf("%s did not happen", what)
	}
}

type addState struct{ Sum int }

func TestManager(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	m := o.manager(job.Define("add", func(args json.RawMessage) ([]job.Step[addState], error) {
		var numbers []int
		if err := json.Unmarshal(args, &numbers); err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "numbers to add: %w", err)
		}
		var steps []job.Step[addState]
		for i, n := range numbers {
			steps = append(steps, job.Step[addState]{
				Name: fmt.Sprintf("add-%d", i),
				Do: func(_ context.Context, r *job.Run[addState]) error {
					r.State.Sum += n
					return r.Result(r.State.Sum)
				},
			})
		}
		return steps, nil
	}))
	o.run(m)
	name := submit(t, m, "add", []int{1, 2, 39})
	j := ended(t, m, name, droveway.JobSucceeded)
	if string(j.Result) != "42" || j.Kind != "add" || j.Subject != "machine/web-1" || j.Ended.IsZero() || j.Created.IsZero() {
		t.Errorf("%+v", j)
	}
	if d := cmp.Diff([]string{"add-0", "add-1", "add-2"}, j.Done); d != "" {
		t.Error(d)
	}
	all, err := m.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != name {
		t.Errorf("list: %+v, %v", all, err)
	}
	if err := m.Cancel(t.Context(), name); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("cancel of an ended job: %v, want conflict", err)
	}

	for kind, args := range map[string]any{"add": "x", "other": 1} {
		_, err := m.Submit(t.Context(), kind, "x", args, job.SubmitOptions{})
		if k := droveway.KindOf(err); k != droveway.Invalid && k != droveway.Unsupported {
			t.Errorf("submit %s: %v", kind, err)
		}
	}
	for what, err := range map[string]error{
		"watch":  m.Watch(t.Context(), "ghost", nil),
		"cancel": m.Cancel(t.Context(), "ghost"),
	} {
		if !droveway.Is(err, droveway.NotFound) {
			t.Errorf("%s: %v, want not found", what, err)
		}
	}
	o.checkEvents(t, name)
}

// checkEvents wants one event for each change, with names that differ.
func (o *office) checkEvents(t *testing.T, name string) {
	t.Helper()
	var got []string
	ids := map[string]bool{}
	deadline := time.Now().Add(5 * time.Second)
	for len(got) < 4 && time.Now().Before(deadline) { // the last is published after the record is written
		time.Sleep(5 * time.Millisecond)
		got = nil
		o.mu.Lock()
		for _, e := range o.events {
			var d struct{ Job, Step, State string }
			if err := json.Unmarshal(e.Data, &d); err != nil {
				t.Fatal(err)
			}
			if e.Subject != "machine/web-1" || d.Job != name {
				t.Errorf("event %+v", e)
			}
			ids[e.ID] = true
			got = append(got, strings.TrimSpace(e.Type+" "+d.State+" "+d.Step))
		}
		o.mu.Unlock()
	}
	if d := cmp.Diff([]string{
		"job.step running add-0", "job.step running add-1", "job.step running add-2", "job.ended succeeded",
	}, got); d != "" || len(ids) != 4 {
		t.Errorf("%s, %d ids", d, len(ids))
	}
}

// SYSTEMS 1.5, as far as jobs go: the same request twice is one job.
func TestSameRequest(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	var runs atomic.Int32
	m := o.manager(kind("count", doing("count", func(context.Context, *job.Run[none]) error { runs.Add(1); return nil })))
	o.run(m)
	var first droveway.Job
	for i := range 5 {
		j, err := m.Submit(t.Context(), "count", "x", 1, job.SubmitOptions{RequestID: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = j
			ended(t, m, j.Name, droveway.JobSucceeded)
		}
		if j.Name != first.Name {
			t.Errorf("request r1 is job %s and job %s", first.Name, j.Name)
		}
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("ran %d times", n)
	}
	_, err := m.Submit(t.Context(), "count", "x", 2, job.SubmitOptions{RequestID: "r1"})
	if !droveway.Is(err, droveway.Conflict) {
		t.Errorf("other arguments: %v, want conflict", err)
	}
	if one, two := submit(t, m, "count", 1), submit(t, m, "count", 1); one == two {
		t.Error("two requests without an id are one job")
	}
}

// A job outlives the process that ran it: the next goes on with the step that
// was under way.
func TestResume(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	var first, second atomic.Int32
	entered := make(chan struct{}, 1)
	var free atomic.Bool
	k := kind("long",
		doing("first", func(context.Context, *job.Run[none]) error { first.Add(1); return nil }),
		doing("second", func(ctx context.Context, _ *job.Run[none]) error {
			second.Add(1)
			if free.Load() {
				return nil
			}
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}),
	)
	m := o.manager(k)
	stop := o.run(m)
	name := submit(t, m, "long", nil)
	await(t, "the second step", entered)
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the end of Run took %s", took)
	}
	if j, err := m.Get(t.Context(), name); err != nil || j.State != droveway.JobRunning || j.Step != "second" {
		t.Errorf("left as %s at %q, %v", j.State, j.Step, err)
	}
	free.Store(true)
	next := o.manager(k)
	o.run(next)
	ended(t, next, name, droveway.JobSucceeded)
	if first.Load() != 1 || second.Load() != 2 {
		t.Errorf("first ran %d times, second %d", first.Load(), second.Load())
	}
}

// Two managers share many jobs, and each job is run by one of them at a time.
func TestTwoManagers(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	o := newOffice(t, b.Conn(t))
	var mu sync.Mutex
	running, runs := map[string]bool{}, map[string]int{}
	k := kind("once", doing("once", func(_ context.Context, r *job.Run[none]) error {
		mu.Lock()
		if running[r.Job] {
			t.Errorf("job %s runs twice", r.Job)
		}
		running[r.Job] = true
		runs[r.Job]++
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		running[r.Job] = false
		return nil
	}))
	one, two := o.manager(k), newOffice(t, b.Conn(t)).manager(k)
	o.run(one)
	o.run(two)
	var names []string
	for range 10 {
		names = append(names, submit(t, one, "once", nil), submit(t, two, "once", nil))
	}
	for _, n := range names {
		ended(t, one, n, droveway.JobSucceeded)
	}
	mu.Lock()
	defer mu.Unlock()
	for n, times := range runs {
		if times != 1 {
			t.Errorf("job %s ran %d times", n, times)
		}
	}
}

// A manager that lost its lease cannot write, and stops; the job goes on
// elsewhere.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	entered := make(chan struct{}, 10)
	stopped := make(chan error, 10)
	var free atomic.Bool
	k := kind("long", doing("wait", func(ctx context.Context, r *job.Run[none]) error {
		if free.Load() {
			return nil
		}
		entered <- struct{}{}
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return nil // even a step that calls itself done is not believed
	}))
	m := o.manager(k)
	o.run(m)
	name := submit(t, m, "long", nil)
	await(t, "the step", entered)
	free.Store(true)
	thief, err := lease.New(o.stores.Leases, o.conn.JS).Claim(t.Context(), "job."+name, "thief", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-stopped:
		if !droveway.Is(err, droveway.Conflict) {
			t.Errorf("stopped by %v, want conflict", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the step was not stopped")
	}
	if j, err := m.Get(t.Context(), name); err != nil || len(j.Done) != 0 || j.State.Ended() {
		t.Errorf("%+v, %v", j, err)
	}
	if err := thief.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended(t, m, name, droveway.JobSucceeded)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	entered, undone := make(chan struct{}, 1), make(chan struct{}, 1)
	m := o.manager(kind("long",
		step{Name: "before", Do: nothing, Undo: func(context.Context, *job.Run[none]) error { undone <- struct{}{}; return nil }},
		doing("wait", func(ctx context.Context, _ *job.Run[none]) error {
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}),
	))
	o.run(m)
	name := submit(t, m, "long", nil)
	await(t, "the step", entered)
	for range 2 { // twice is once
		if err := m.Cancel(t.Context(), name); err != nil && !droveway.Is(err, droveway.Conflict) {
			t.Fatal(err)
		}
	}
	j := ended(t, m, name, droveway.JobFailed)
	await(t, "the undo", undone)
	if !j.Cancel || len(j.Done) != 0 || j.Error != job.ErrCancelled.Error() {
		t.Errorf("%+v", j)
	}
}

// A cancel of a job that nobody has taken up yet.
func TestCancelPending(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	m := o.manager(kind("x", doing("a", func(context.Context, *job.Run[none]) error { t.Error("it ran"); return nil })))
	name := submit(t, m, "x", nil)
	if err := m.Cancel(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	o.run(m)
	ended(t, m, name, droveway.JobFailed)
}

// Past the point a cancel is refused.
func TestCancelPastPoint(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	entered, free := make(chan struct{}, 1), make(chan struct{})
	m := o.manager(kind("move", step{
		Name: "switch", Point: true,
		Do: func(ctx context.Context, _ *job.Run[none]) error {
			entered <- struct{}{}
			select {
			case <-free:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}))
	o.run(m)
	name := submit(t, m, "move", nil)
	await(t, "the point", entered)
	if err := m.Cancel(t.Context(), name); !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "point of no return") {
		t.Errorf("%v, want conflict", err)
	}
	close(free)
	if j := ended(t, m, name, droveway.JobSucceeded); j.Cancel {
		t.Error("the refused cancel is in the record")
	}
}

// A job of another version is left alone, and says why.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	o := newOffice(t, bustest.Connect(t))
	entered := make(chan struct{}, 1)
	wait := func(ctx context.Context, _ *job.Run[none]) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	old := o.manager(kind("x", doing("one", nothing), doing("two", wait)), kind("y", doing("one", nothing)))
	stop := o.run(old)
	name := submit(t, old, "x", nil)
	await(t, "the step", entered)
	stop()
	unknown := submit(t, old, "y", nil)

	m := o.manager(kind("x", doing("one", nothing), doing("other", nothing)))
	o.run(m)
	for _, n := range []string{name, unknown} {
		enough := errors.New("enough")
		err := m.Watch(within(t, 10*time.Second), n, func(j droveway.Job) error {
			if strings.Contains(j.Retry, "version") {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Errorf("job %s: %v", n, err)
		}
		left, err := m.Get(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if j, err := m.Get(t.Context(), n); err != nil || !j.Updated.Equal(left.Updated) {
			t.Errorf("job %s was taken up again, %v", n, err)
		}
	}
}
