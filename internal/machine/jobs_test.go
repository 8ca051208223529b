package machine

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// world makes a world for jobtest out of a kind's steps.
func world[S any](t *testing.T, args any, define func(json.RawMessage) ([]job.Step[S], error), check func(t *testing.T, succeeded bool)) jobtest.World[S] {
	t.Helper()
	b, err := json.Marshal(args)
	must(t, err)
	steps, err := define(b)
	must(t, err)
	return jobtest.World[S]{Args: args, Steps: steps, Check: check}
}

func TestCreateJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for _, running := range []bool{true, false} {
		jobtest.Run(t, func(t *testing.T) jobtest.World[creating] {
			f, h := newFleet(t, js), newFakeHosts()
			fill(t, f, "a")
			return world(t, createArgs{web(running)}, newController(f, h).defineCreate, func(t *testing.T, succeeded bool) {
				seen := h.see("a", "web")
				if !succeeded {
					_, _, err := f.Machines.Get(t.Context(), "web")
					if !droveway.Is(err, droveway.NotFound) || seen.role != host.RoleNone || seen.state != hypervisor.Gone {
						t.Errorf("left behind: record (%v), on the host %s, %s", err, seen.role, seen.state)
					}
					return
				}
				checkCreated(t, get(t, f, "web"), seen, running)
				if h.count() > 1 {
					t.Errorf("the guest was started %d times", h.count())
				}
			})
		})
	}
}

func checkCreated(t *testing.T, m droveway.Machine, seen fakeMachine, running bool) {
	t.Helper()
	state, role := droveway.MachineStopped, host.RoleIdle
	if running {
		state, role = droveway.MachineRunning, host.RoleHome
	}
	if m.Status.State != state || m.Status.Job != "" || m.Status.Host != "a" || m.Created.IsZero() {
		t.Errorf("record: %+v", m)
	}
	if seen.role != role || seen.instance.Token != m.Status.Token || seen.instance.UUID != fleet.UUID(&m) {
		t.Errorf("on the host %s with %+v, record %+v", seen.role, seen.instance, m.Status)
	}
	want := []host.Disk{
		{Name: "root", Image: &host.Image{Name: "tiny", Format: droveway.QCOW2, Bytes: 5 << 20, SHA256: "abc"}, Format: droveway.QCOW2, Size: 21 << 20},
		{Name: "data", Format: droveway.Raw, Size: 64 << 20},
	}
	if d := cmp.Diff(want, seen.instance.Disks); d != "" {
		t.Error(d)
	}
	if len(seen.instance.NICs) != 1 || seen.instance.NICs[0].Address.String() != "10.20.0.10/16" || seen.instance.NICs[0].Network.VNI != 4242 {
		t.Errorf("cards %+v", seen.instance.NICs)
	}
}

// settled makes a fleet with the machine web on host a.
func settled(t *testing.T, f *fleet.Fleet, h *fakeHosts, running bool) droveway.Machine {
	t.Helper()
	fill(t, f, "a")
	m := web(running)
	var err error
	m.Spec.Disks, err = newController(f, h).disks(t.Context(), &m)
	must(t, err)
	m.Status = droveway.MachineStatus{State: wanted(&m), Host: "a", Token: 1}
	must(t, f.Machines.Create(t.Context(), m.Name, m))
	i, err := Instance(t.Context(), f, m, 1)
	must(t, err)
	on := h.machine("a", "web")
	*on = fakeMachine{instance: i, role: host.RoleIdle, state: hypervisor.Gone}
	if running {
		on.role, on.state = host.RoleHome, hypervisor.Running
	}
	return m
}

func TestStartJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	jobtest.Run(t, func(t *testing.T) jobtest.World[before] {
		f, h := newFleet(t, js), newFakeHosts()
		was := settled(t, f, h, false)
		return world(t, startArgs{Machine: "web"}, newController(f, h).defineStart, func(t *testing.T, succeeded bool) {
			m, seen := get(t, f, "web"), h.see("a", "web")
			if !succeeded {
				if m.Spec.Running || m.Status.State != was.Status.State || m.Status.Job != "" || seen.state != hypervisor.Gone {
					t.Errorf("not as it was: %+v; guest %s", m, seen.state)
				}
				return
			}
			if !m.Spec.Running || m.Status.State != droveway.MachineRunning || m.Status.Job != "" || seen.state != hypervisor.Running {
				t.Errorf("not started: %+v; guest %s", m, seen.state)
			}
			if m.Status.Token <= was.Status.Token || seen.instance.Token != m.Status.Token || h.count() != 1 {
				t.Errorf("token %d after %d, on the host %d; started %d times", m.Status.Token, was.Status.Token, seen.instance.Token, h.count())
			}
		})
	})
}

func TestStopJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	jobtest.Run(t, func(t *testing.T) jobtest.World[before] {
		f, h := newFleet(t, js), newFakeHosts()
		settled(t, f, h, true)
		return world(t, stopArgs{Machine: "web"}, newController(f, h).defineStop, func(t *testing.T, succeeded bool) {
			m, seen := get(t, f, "web"), h.see("a", "web")
			if !succeeded {
				if !m.Spec.Running || m.Status.Job != "" {
					t.Errorf("not as it was: %+v", m)
				}
				return
			}
			if m.Spec.Running || m.Status.State != droveway.MachineStopped || m.Status.Job != "" || seen.state != hypervisor.Gone || seen.role != host.RoleIdle {
				t.Errorf("not stopped: %+v; on the host %s, %s", m, seen.role, seen.state)
			}
		})
	})
}

func TestRemoveJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	jobtest.Run(t, func(t *testing.T) jobtest.World[none] {
		f, h := newFleet(t, js), newFakeHosts()
		settled(t, f, h, true)
		return world(t, removeArgs{Machine: "web"}, newController(f, h).defineRemove, func(t *testing.T, succeeded bool) {
			m, _, err := f.Machines.Get(t.Context(), "web")
			if !succeeded {
				if err != nil || m.Status.Job != "" || !m.Spec.Running {
					t.Errorf("not as it was: %+v, %v", m, err)
				}
				return
			}
			if seen := h.see("a", "web"); !droveway.Is(err, droveway.NotFound) || seen.role != host.RoleNone {
				t.Errorf("left behind: record (%v), on the host %s", err, seen.role)
			}
		})
	})
}
