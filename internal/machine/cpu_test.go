package machine

import (
	"testing"

	"github.com/droveway/droveway"
)

// can gives a host the flags of a level and what else is named.
func can(t *testing.T, k *control, host, level string, more ...string) {
	t.Helper()
	flags, _ := droveway.Level(level)
	_, err := k.fleet.Hosts.Update(t.Context(), host, func(h *droveway.Host) error {
		h.Status.Capabilities = map[string]string{"accelerator": "kvm"}
		for _, f := range append(flags, more...) {
			h.Status.Capabilities[droveway.CPUFlag(f)] = "yes"
		}
		return nil
	})
	must(t, err)
}

// The CPU of a machine is decided once, by all hosts there are, and its instances
// get it.
func TestCPUIsDecidedOnce(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	fill(t, k.fleet, "a", "b")
	can(t, k, "a", "x86-64-v3", "aes")
	can(t, k, "b", "x86-64-v2", "aes", "rtm")
	for asked, want := range map[droveway.CPU]droveway.CPU{
		"": "x86-64-v2+aes", "baseline": "x86-64-v2+aes", "host": "host", "x86-64-v3": "x86-64-v3",
	} {
		m := web(true)
		m.Spec.CPU = asked
		m, err := k.complete(t.Context(), m)
		must(t, err)
		if m.Spec.CPU != want {
			t.Errorf("asked for %q: %q, want %q", asked, m.Spec.CPU, want)
		}
		i, err := Instance(t.Context(), k.fleet, m, 1)
		must(t, err)
		if i.CPU != want {
			t.Errorf("asked for %q: its instance has %q", asked, i.CPU)
		}
	}
	m := web(false)
	m.Spec.CPU, m.Status = "host", droveway.MachineStatus{State: droveway.MachineStopped, Host: "a"}
	must(t, k.fleet.Machines.Create(t.Context(), "web", m))
	if p, err := k.PlanResize(t.Context(), Resize{Machine: "web", Size: Size{CPU: "baseline"}}); err != nil || p.Before.CPU != "host" || p.After.CPU != "x86-64-v2+aes" {
		t.Errorf("the machine gets the baseline: %+v, %v", p, err)
	}
	m = web(true)
	m.Spec.CPU = "x86-64-v3"
	if on, err := k.choose(t.Context(), &m); err != nil || on != "a" {
		t.Errorf("placed on %q, %v; only a has its CPU", on, err)
	}
	m.Spec.CPU = "x86-64-v4"
	if on, err := k.choose(t.Context(), &m); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("placed on %q, %v; no host has its CPU", on, err)
	}
}
