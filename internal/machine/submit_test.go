package machine

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/fleet"
)

// withJobs gives a controller a manager of jobs, which does not run.
func withJobs(f *fleet.Fleet, c *Controller) *Controller {
	c.cfg.Jobs = job.NewManager(job.ManagerConfig{Jobs: f.Stores.Jobs, Log: slog.New(slog.DiscardHandler)})
	for _, k := range c.Kinds() {
		c.cfg.Jobs.Register(k)
	}
	return c
}

// What cannot be is refused before there is a job, with a message that names
// the culprit.
func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	tests := []struct {
		name string
		edit func(*droveway.Machine)
		kind droveway.Kind
		says string
	}{
		{"no CPUs", func(m *droveway.Machine) { m.Spec.CPUs = 0 }, droveway.Invalid, "CPUs"},
		{"name clash", func(m *droveway.Machine) { m.Name = "old" }, droveway.Exists, `"old"`},
		{"unknown image", func(m *droveway.Machine) { m.Spec.Disks[0].Image = "no-such" }, droveway.NotFound, `"no-such"`},
		{"image not ready", func(m *droveway.Machine) { m.Spec.Disks[0].Image = "late" }, droveway.Conflict, "late is fetching"},
		{"smaller than the image", func(m *droveway.Machine) { m.Spec.Disks[0].SizeMiB = 20 }, droveway.Invalid, "21 MiB"},
		{"unknown network", func(m *droveway.Machine) { m.Spec.NICs = []droveway.NIC{{Network: "wan"}} }, droveway.NotFound, `"wan"`},
		{"address outside", func(m *droveway.Machine) {
			m.Spec.NICs = []droveway.NIC{{Address: netip.MustParseAddr("10.21.0.1")}}
		}, droveway.Invalid, "10.20.0.0/16"},
		{"unknown host", func(m *droveway.Machine) { m.Spec.Host = "z" }, droveway.NotFound, `"z"`},
		{"missing capability", func(m *droveway.Machine) { m.Spec.Requires = []string{"accelerator=kvm"} }, droveway.Unsupported, "accelerator=kvm"}, // SYSTEMS 1.2
		{"no such firmware", func(m *droveway.Machine) { m.Spec.Firmware = "coreboot" }, droveway.Invalid, "bios or uefi"},
		{"secure boot", func(m *droveway.Machine) { m.Spec.Firmware = "secure-boot" }, droveway.Unsupported, "no secure boot"},
		{"missing firmware", func(m *droveway.Machine) { m.Spec.Firmware = droveway.UEFI }, droveway.Unsupported, "firmware.uefi"},
		{"firmware of the image", func(m *droveway.Machine) { m.Spec.Disks[0].Image = "modern" }, droveway.Unsupported, "firmware.uefi"},
		{"too large", func(m *droveway.Machine) { m.Spec.MemoryMiB = 5000 }, droveway.Unavailable, "5000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, js)
			fill(t, f, "a")
			old := web(false)
			old.Name = "old"
			must(t, f.Machines.Create(t.Context(), "old", old))
			c := withJobs(f, newController(f, newFakeHosts()))
			m := web(true)
			tt.edit(&m)
			_, err := c.Create(t.Context(), m, "")
			if !droveway.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %s error %v, want %s with %q", droveway.KindOf(err), err, tt.kind, tt.says)
			}
			jobs, err := c.cfg.Jobs.List(t.Context())
			must(t, err)
			if len(jobs) != 0 {
				t.Errorf("jobs %+v", jobs) // SYSTEMS 1.9
			}
		})
	}
}

func TestOrdersRefuse(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	status := func(s droveway.MachineState, job, host string) func(*droveway.Machine) {
		return func(m *droveway.Machine) { m.Status = droveway.MachineStatus{State: s, Job: job, Host: host} }
	}
	tests := []struct {
		name  string
		order string
		edit  func(*droveway.Machine)
		kind  droveway.Kind // empty: accepted
		says  string
	}{
		{"start what runs", "start", status(droveway.MachineRunning, "", "a"), droveway.Conflict, "running on host a"},
		{"start what stands", "start", status(droveway.MachineStopped, "", "a"), "", ""},
		{"start what failed", "start", status(droveway.MachineFailed, "", "a"), "", ""},
		{"start in a move", "start", status(droveway.MachineStopped, "machine-move-1", "a"), droveway.Conflict, "machine-move-1"},
		{"start on a silent host", "start", status(droveway.MachineUnknown, "", "b"), droveway.Unavailable, "host b is unknown"},
		{"stop what runs", "stop", status(droveway.MachineRunning, "", "a"), "", ""},
		{"stop in a move", "stop", status(droveway.MachineRunning, "machine-move-1", "a"), droveway.Conflict, "machine-move-1"},
		{"stop what stands", "stop", func(m *droveway.Machine) {
			status(droveway.MachineStopped, "", "a")(m)
			m.Spec.Running = false
		}, droveway.Conflict, "stopped already"},
		{"stop what is to be started again", "stop", status(droveway.MachineStopped, "", "a"), "", ""},
		{"remove in a move", "remove", status(droveway.MachineRunning, "machine-move-1", "a"), droveway.Conflict, "machine-move-1"},
		{"remove from a silent host", "remove", status(droveway.MachineUnknown, "", "b"), droveway.Unavailable, "host b is unknown"},
		{"remove from a host that left", "remove", status(droveway.MachineUnknown, "", "z"), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, js)
			fill(t, f, "a", "b")
			_, err := f.Hosts.Update(t.Context(), "b", func(h *droveway.Host) error { h.Status.State = droveway.HostUnknown; return nil })
			must(t, err)
			m := web(true)
			tt.edit(&m)
			must(t, f.Machines.Create(t.Context(), m.Name, m))
			c := withJobs(f, newController(f, newFakeHosts()))
			j, err := order(t, c, tt.order, m.Name, "")
			if droveway.KindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %s error %v, want %s with %q", droveway.KindOf(err), err, tt.kind, tt.says)
			}
			if err == nil && (j.Subject != "machine/web" || j.Kind != "machine-"+tt.order) {
				t.Errorf("job %+v", j)
			}
			if _, err := order(t, c, tt.order, "no-such", ""); !droveway.Is(err, droveway.NotFound) {
				t.Errorf("for a machine that is not there: %v", err)
			}
		})
	}
}

func order(t *testing.T, c *Controller, what, name, requestID string) (droveway.Job, error) {
	t.Helper()
	switch what {
	case "start":
		return c.Start(t.Context(), name, requestID)
	case "stop":
		return c.Stop(t.Context(), name, 0, requestID)
	default:
		return c.Remove(t.Context(), name, requestID)
	}
}

// A repeated request gives the job that is there, even when what the first one
// did would make it impossible now. SYSTEMS 1.5.
func TestRequestRepeated(t *testing.T) {
	t.Parallel()
	f := newFleet(t, startStore(t))
	fill(t, f, "a")
	c := withJobs(f, newController(f, newFakeHosts()))
	first, err := c.Create(t.Context(), web(true), "request-1")
	must(t, err)
	must(t, f.Machines.Create(t.Context(), "web", web(true))) // as the job does
	again, err := c.Create(t.Context(), web(true), "request-1")
	must(t, err)
	if again.Name != first.Name {
		t.Errorf("jobs %s and %s", first.Name, again.Name)
	}
	other := web(true)
	other.Name = "other"
	if _, err := c.Create(t.Context(), other, "request-1"); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("the request of another machine: %v", err)
	}
	if _, err := c.Create(t.Context(), web(true), "request-2"); !droveway.Is(err, droveway.Exists) {
		t.Errorf("another request: %v", err)
	}
}

// Of many jobs that want a machine at the same time one gets it, and the others
// are told which.
func TestClaim(t *testing.T) {
	t.Parallel()
	f := newFleet(t, startStore(t))
	must(t, f.Machines.Create(t.Context(), "web", web(true)))
	var won []string
	var refused []error
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range []string{"job-1", "job-2", "job-3", "job-4"} {
		all.Go(func() {
			_, err := Claim(t.Context(), f, "web", name)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, name)
			} else {
				refused = append(refused, err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("won: %v", won)
	}
	for _, err := range refused {
		if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), won[0]) {
			t.Errorf("refused with %v", err)
		}
	}
	if _, err := Claim(t.Context(), f, "web", won[0]); err != nil {
		t.Errorf("claimed again: %v", err)
	}
	must(t, Unclaim(t.Context(), f, "web", "job-9"))
	if got := get(t, f, "web").Status.Job; got != won[0] {
		t.Errorf("a stranger freed it: %q", got)
	}
	must(t, Unclaim(t.Context(), f, "web", won[0]))
	must(t, Unclaim(t.Context(), f, "web", won[0]))
	must(t, Unclaim(t.Context(), f, "no-such", won[0]))
	if got := get(t, f, "web").Status.Job; got != "" {
		t.Errorf("still held by %q", got)
	}
}

// The token of a machine that is made again is greater than any that the first
// one had: its host may remember.
func TestTokenOutlivesMachine(t *testing.T) {
	t.Parallel()
	f := newFleet(t, startStore(t))
	last := uint64(0)
	for range 2 {
		must(t, f.Machines.Create(t.Context(), "web", web(true)))
		_, err := Claim(t.Context(), f, "web", "job-1")
		must(t, err)
		for range 3 {
			m, err := advance(t.Context(), f, "web", "job-1", func(*droveway.Machine) {})
			must(t, err)
			if m.Status.Token <= last {
				t.Errorf("token %d after %d", m.Status.Token, last)
			}
			last = m.Status.Token
		}
		must(t, f.Machines.Delete(t.Context(), "web"))
	}
	must(t, f.Machines.Create(t.Context(), "web", web(true)))
	if _, err := advance(t.Context(), f, "web", "job-1", func(*droveway.Machine) {}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("without a claim: %v", err)
	}
}
