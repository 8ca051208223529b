package machine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/place"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		was      droveway.MachineState
		wanted   bool // to run
		silent   bool // the host
		role     host.Role
		instance hypervisor.State
		failed   string // the last start
		want     droveway.MachineState
		says     string
		start    bool
	}{
		{name: "runs", was: "running", wanted: true, role: host.RoleHome, instance: hypervisor.Running, want: droveway.MachineRunning},
		{name: "runs while it hydrates", was: "running", wanted: true, role: host.RoleHydrating, instance: hypervisor.Running, want: droveway.MachineRunning},
		{name: "runs though not wanted", was: "stopped", role: host.RoleHome, instance: hypervisor.Running, want: droveway.MachineRunning},
		{name: "paused", was: "running", wanted: true, role: host.RoleHome, instance: hypervisor.Paused, want: droveway.MachinePaused},
		{name: "stuck", was: "running", wanted: true, role: host.RoleHome, instance: hypervisor.Stuck, want: droveway.MachinePaused, says: "disks"},
		{name: "does not answer", was: "running", wanted: true, role: host.RoleHome, want: droveway.MachineUnknown, says: "host a"},
		{name: "crashed", was: "running", wanted: true, role: host.RoleHome, instance: hypervisor.Crashed, want: droveway.MachinePaused, says: "stop the machine and start it"},
		{name: "killed by hand", was: "running", wanted: true, role: host.RoleHome, instance: hypervisor.Gone, want: droveway.MachineStopped, says: "host a", start: true},
		{name: "idle", was: "running", wanted: true, role: host.RoleIdle, instance: hypervisor.Gone, want: droveway.MachineStopped, says: "host a", start: true},
		{name: "stands as wanted", was: "running", role: host.RoleIdle, instance: hypervisor.Gone, want: droveway.MachineStopped},
		{name: "start failed", was: "stopped", wanted: true, role: host.RoleIdle, instance: hypervisor.Gone, failed: "no memory", want: droveway.MachineFailed, says: "no memory", start: true},
		{name: "failed before the server came", was: "failed", wanted: true, role: host.RoleIdle, instance: hypervisor.Gone, want: droveway.MachineFailed, start: true},
		{name: "runs after a failure", was: "failed", wanted: true, role: host.RoleHome, instance: hypervisor.Running, failed: "no memory", want: droveway.MachineRunning},
		{name: "host silent", was: "running", wanted: true, silent: true, want: droveway.MachineUnknown, says: "host a is silent"},
		{name: "host silent, stopped", was: "stopped", silent: true, want: droveway.MachineUnknown, says: "host a is silent"},
		{name: "host is back", was: "unknown", wanted: true, role: host.RoleHome, instance: hypervisor.Running, want: droveway.MachineRunning},
		{name: "disks gone", was: "running", wanted: true, role: host.RoleNone, instance: hypervisor.Gone, want: droveway.MachineFailed, says: "nothing of the machine"},
		{name: "its record is damaged", was: "running", wanted: true, role: host.RoleUnknown, want: droveway.MachineUnknown, says: "host a"},
		{name: "idle, not adopted", was: "stopped", wanted: true, role: host.RoleIdle, want: droveway.MachineUnknown, says: "host a"},
		{name: "left by a move, not adopted", was: "running", wanted: true, role: host.RoleSecondary, want: droveway.MachineUnknown, says: "host a"},
		{name: "left by a move", was: "running", wanted: true, role: host.RoleSecondary, instance: hypervisor.Gone, want: droveway.MachineRunning, says: "secondary"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := droveway.Machine{Spec: droveway.MachineSpec{Running: tt.wanted}, Status: droveway.MachineStatus{State: tt.was, Host: "a"}}
			got := judge(&m, !tt.silent, host.Observed{Role: tt.role, Instance: tt.instance}, tt.failed)
			if got.state != tt.want || got.start != tt.start || !strings.Contains(got.message, tt.says) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestMergeHost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	long := now.Add(-time.Hour)
	report := droveway.HostStatus{Address: "192.0.2.7", CPUs: 8}
	tests := []struct {
		name            string
		was             droveway.HostState
		reported, alive bool
		want            droveway.HostState
		since           time.Time
	}{
		{"joined, nothing yet", droveway.HostJoined, false, false, droveway.HostJoined, long},
		{"joined, alive, no report", droveway.HostJoined, false, true, droveway.HostJoined, long},
		{"joined, report of old", droveway.HostJoined, true, false, droveway.HostJoined, long},
		{"first heartbeat", droveway.HostJoined, true, true, droveway.HostReady, now},
		{"lease runs out", droveway.HostReady, true, false, droveway.HostUnknown, now},
		{"still silent", droveway.HostUnknown, true, false, droveway.HostUnknown, long},
		{"back", droveway.HostUnknown, true, true, droveway.HostReady, now},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			was := droveway.HostStatus{State: tt.was, Since: long, Address: "192.0.2.1"}
			got := mergeHost(was, report, tt.reported, tt.alive, now)
			if got.State != tt.want || !got.Since.Equal(tt.since) {
				t.Errorf("got %s since %s", got.State, got.Since)
			}
			if tt.reported != (got.CPUs == 8) || got.Address == "" {
				t.Errorf("report not merged: %+v", got)
			}
		})
	}
}

// What changes all the time must not become a write each time.
func TestSameHost(t *testing.T) {
	t.Parallel()
	h := droveway.HostStatus{State: droveway.HostReady, DiskFreeMiB: 1000, Capabilities: map[string]string{"kvm": "yes"}}
	later := h
	later.DiskFreeMiB = 1010
	if !sameHost(h, later) {
		t.Error("a heartbeat counts as news")
	}
	later.DiskFreeMiB = 100
	if sameHost(h, later) {
		t.Error("a full disk does not count as news")
	}
	later = h
	later.Held = []droveway.HeldMachine{{Machine: "web"}}
	if sameHost(h, later) {
		t.Error("a machine that is held does not count as news")
	}
	later = h
	later.Started = time.Now()
	if sameHost(h, later) {
		t.Error("a new agent does not count as news")
	}
	later = h
	later.Capabilities = map[string]string{"kvm": "no"}
	if sameHost(h, later) {
		t.Error("a lost capability does not count as news")
	}
}

func TestRestartBackoff(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var r restart
	var delays []time.Duration
	for range 8 {
		r = r.next("job", now)
		delays = append(delays, r.at.Sub(now))
	}
	s := time.Second
	if d := cmp.Diff([]time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}, delays); d != "" {
		t.Error(d)
	}
}

func TestPeers(t *testing.T) {
	t.Parallel()
	hosts := make([]droveway.Host, 4)
	for i, a := range []string{"192.0.2.9", "", "192.0.2.1", "192.0.2.9"} {
		hosts[i].Status.Address = a
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")}
	if d := cmp.Diff(want, peers(hosts), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestNeed(t *testing.T) {
	t.Parallel()
	m := web(true)
	m.Spec.Requires, m.Spec.Host = []string{"kvm"}, "b"
	there, coming, nowhere := web(true), web(true), web(true)
	there.Name, there.Status = "db", droveway.MachineStatus{Host: "a", State: droveway.MachineRunning}
	coming.Name, coming.Status = "mail", droveway.MachineStatus{Host: "a", State: droveway.MachinePlaced}
	nowhere.Name = "new"
	got := need(&m, []droveway.Machine{there, coming, nowhere, m})
	want := place.Need{
		CPUs: 1, MemoryMiB: 128, DiskMiB: 64, Requires: []string{"kvm"}, Host: "b",
		Used: map[string]place.Usage{"a": {MemoryMiB: 256, DiskMiB: 64}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
