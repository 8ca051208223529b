package machine

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/fleet"
)

// larger is a resize of the machine web: of all that a standing machine can
// change, or of what a running one can.
func larger(running bool) Resize {
	r := Resize{Machine: "web", Size: Size{Disks: []SizedDisk{{"data", 128}}}}
	if !running {
		r.CPUs, r.MemoryMiB = 2, 96
	}
	return r
}

// A resize survives a kill of the server at each write of its journal, and the
// record says in the end how large the disks are.
func TestResizeJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for _, running := range []bool{true, false} {
		jobtest.Run(t, func(t *testing.T) jobtest.World[resizing] {
			f, h := newFleet(t, js), newFakeHosts()
			was := settled(t, f, h, running)
			r := larger(running)
			return world(t, r, newController(f, h).defineResize, func(t *testing.T, succeeded bool) {
				want := was
				if succeeded {
					after, err := r.apply(&was)
					must(t, err)
					want = after
				}
				mustHaveSize(t, f, h, &want)
			})
		})
	}
}

// mustHaveSize checks a machine that no job holds against its record and its
// host.
func mustHaveSize(t *testing.T, f *fleet.Fleet, h *fakeHosts, want *droveway.Machine) {
	t.Helper()
	m := get(t, f, "web")
	if d := cmp.Diff(sizeOf(&want.Spec), sizeOf(&m.Spec)); d != "" || m.Status.State != want.Status.State || m.Status.Token != want.Status.Token {
		t.Errorf("the record: %s; %+v", d, m.Status)
	}
	if m.Status.Job != "" {
		t.Errorf("held by job %s", m.Status.Job)
	}
	for n, d := range h.see("a", "web").instance.Disks {
		if d.Size != want.Spec.Disks[n].SizeMiB<<20 {
			t.Errorf("disk %s has %d bytes on its host, and %d MiB in the record", d.Name, d.Size, want.Spec.Disks[n].SizeMiB)
		}
	}
}

// A disk that refuses ends the job, and the record follows what the other has
// become.
func TestResizeOfOneDisk(t *testing.T) {
	t.Parallel()
	f, h := newFleet(t, startStore(t)), newFakeHosts()
	was := settled(t, f, h, true)
	h.refuses = "root"
	r := Resize{Machine: "web", Size: Size{Disks: []SizedDisk{{"data", 128}, {"root", 32}}}}
	c := newController(f, h)
	rec := execute(t, c.resizeSteps(r))
	if rec.Job.State != droveway.JobFailed || !strings.Contains(rec.Job.Error, "disk root is made to refuse") {
		t.Errorf("the job %s: %s", rec.Job.State, rec.Job.Error)
	}
	was.Spec.Disks[1].SizeMiB = 128
	mustHaveSize(t, f, h, &was)
}

// forgetful is a journal of a process that is not killed.
type forgetful struct{}

func (forgetful) Save(context.Context, *job.Record) error { return nil }

// execute runs the steps of a job to its end.
func execute[S any](t *testing.T, steps []job.Step[S]) *job.Record {
	t.Helper()
	rec, err := job.NewRecord(steps)
	must(t, err)
	rec.Job.Name = "machine-resize-1"
	must(t, job.Execute(t.Context(), rec, steps, job.Env{Journal: forgetful{}, Log: bustest.Log()}))
	return rec
}

// What cannot be is refused before there is a job.
func TestResizeRefuses(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	disk := func(name string, mib int64) Resize { return Resize{Size: Size{Disks: []SizedDisk{{name, mib}}}} }
	stopped := func(m *droveway.Machine) { m.Status.State, m.Spec.Running = droveway.MachineStopped, false }
	for name, c := range map[string]struct {
		resize Resize
		edit   func(*droveway.Machine)
		kind   droveway.Kind
		says   string
	}{
		"nothing":                     {Resize{}, nil, droveway.Invalid, "give disks, CPUs or memory"},
		"a smaller disk":              {disk("data", 63), nil, droveway.Invalid, "disk data has 64 MiB and 63 are wanted: a disk can only grow"},
		"a disk of no size":           {disk("data", 0), nil, droveway.Invalid, "can only grow"},
		"a disk larger than any":      {disk("data", 65<<20), nil, droveway.Invalid, "disk data"},
		"an unknown disk":             {disk("swap", 64), nil, droveway.NotFound, `has no disk "swap"`},
		"a disk twice":                {Resize{Size: Size{Disks: []SizedDisk{{"data", 65}, {"data", 66}}}}, nil, droveway.Invalid, "disk data is named twice"},
		"more than the host has":      {disk("data", 64+100<<10+1), nil, droveway.Unavailable, "host a has 102400 MiB of disk free"},
		"CPUs of a running machine":   {Resize{Size: Size{CPUs: 2}}, nil, droveway.Conflict, "machine web is running: CPUs and memory change while it is stopped: stop it first"},
		"memory of a running machine": {Resize{Size: Size{MemoryMiB: 256}}, nil, droveway.Conflict, "stop it first"},
		"CPUs of one that will start": {Resize{Size: Size{CPUs: 2}}, func(m *droveway.Machine) { m.Status.State = droveway.MachineFailed }, droveway.Conflict, "machine web is failed"},
		"negative CPUs":               {Resize{Size: Size{CPUs: -1}}, stopped, droveway.Invalid, "-1 CPUs"},
		"little memory":               {Resize{Size: Size{MemoryMiB: 1}}, stopped, droveway.Invalid, "1 MiB of memory"},
		"CPUs that the host has not":  {Resize{Size: Size{CPUs: 5}}, stopped, droveway.Unavailable, "host a has 4 CPUs, 5 are needed"},
		"memory that is not there":    {Resize{Size: Size{MemoryMiB: 5000}}, stopped, droveway.Unavailable, "5000 are needed"},
		"a CPU of a running machine":  {Resize{Size: Size{CPU: "x86-64-v1"}}, nil, droveway.Conflict, "stop it first"},
		"a CPU that the host has not": {Resize{Size: Size{CPU: "x86-64-v1+aes"}}, stopped, droveway.Unsupported, "host a lacks cmov, cx8, fpu, fxsr, mmx, sse, sse2, aes"},
		"no name of a CPU":            {Resize{Size: Size{CPU: "a,b"}}, stopped, droveway.Invalid, "a,b"},
		"a machine that moves":        {disk("data", 128), func(m *droveway.Machine) { m.Status.Job = "machine-move-1" }, droveway.Conflict, "held by job machine-move-1"},
		"a silent host":               {disk("data", 128), func(m *droveway.Machine) { m.Status.Host = "b" }, droveway.Unavailable, "host b is unknown"},
		"a host that left":            {disk("data", 128), func(m *droveway.Machine) { m.Status.Host = "z" }, droveway.NotFound, `host "z" is not in the fleet`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, js)
			fill(t, f, "a", "b")
			_, err := f.Hosts.Update(t.Context(), "b", func(h *droveway.Host) error { h.Status.State = droveway.HostUnknown; return nil })
			must(t, err)
			m := web(true)
			m.Spec.Disks[0].SizeMiB = 21
			m.Status = droveway.MachineStatus{State: droveway.MachineRunning, Host: "a", Token: 1}
			if c.edit != nil {
				c.edit(&m)
			}
			must(t, f.Machines.Create(t.Context(), m.Name, m))
			ctl := withJobs(f, newController(f, newFakeHosts()))
			c.resize.Machine = "web"
			_, err = ctl.Resize(t.Context(), c.resize, "")
			if !droveway.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %s error %v, want %s with %q", droveway.KindOf(err), err, c.kind, c.says)
			}
			jobs, err := ctl.cfg.Jobs.List(t.Context())
			must(t, err)
			if len(jobs) != 0 {
				t.Errorf("jobs %+v", jobs) // SYSTEMS 1.9
			}
		})
	}
}

// The same request twice is one job, whatever the first has done since; and what
// is so already may be asked for.
func TestResizeRepeated(t *testing.T) {
	t.Parallel()
	f, h := newFleet(t, startStore(t)), newFakeHosts()
	settled(t, f, h, false)
	c := withJobs(f, newController(f, h))
	first, err := c.Resize(t.Context(), larger(false), "request-1")
	must(t, err)
	execute(t, c.resizeSteps(larger(false)))
	again, err := c.Resize(t.Context(), larger(false), "request-1")
	must(t, err)
	if again.Name != first.Name {
		t.Errorf("jobs %s and %s", first.Name, again.Name)
	}
	p, err := c.PlanResize(t.Context(), larger(false))
	must(t, err)
	if d := cmp.Diff(p.Before, p.After); d != "" || p.After.CPUs != 2 || p.After.MemoryMiB != 96 || p.After.Disks[1].SizeMiB != 128 {
		t.Errorf("plan %+v: want what is so already", p)
	}
}
