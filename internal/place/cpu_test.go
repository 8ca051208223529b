package place

import (
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// flags gives a host flags of the CPU.
func flags(all ...string) func(*droveway.Host) {
	return func(h *droveway.Host) {
		for _, f := range all {
			h.Status.Capabilities[droveway.CPUFlag(f)] = "yes"
		}
	}
}

func level(name string) []string {
	f, _ := droveway.Level(name)
	return f
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	kvm := can("accelerator", "kvm")
	v2, v3 := host("a", kvm, flags(level("x86-64-v2")...)), host("b", kvm, flags(level("x86-64-v3")...))
	gone := host("c", kvm, state(droveway.HostUnknown), flags(level("x86-64-v2")...))
	for name, c := range map[string]struct {
		hosts []droveway.Host
		need  Need
		want  droveway.CPU
	}{
		"of all":                                {[]droveway.Host{v2, v3}, Need{}, "x86-64-v2"},
		"of the only one that is meant":         {[]droveway.Host{v2, v3}, Need{Host: "b"}, "x86-64-v3"},
		"of those with what it requires":        {[]droveway.Host{v2, v3}, Need{Requires: []string{"cpu.avx2"}}, "x86-64-v3"},
		"a silent host may come back":           {[]droveway.Host{v3, gone}, Need{}, "x86-64-v2"},
		"a host that never told says nothing":   {[]droveway.Host{v3, host("d", state(droveway.HostJoined))}, Need{}, "x86-64-v3"},
		"a host that tells of no flags ends it": {[]droveway.Host{v3, host("e", kvm)}, Need{}, "host"},
		"a host without KVM does not count":     {[]droveway.Host{v3, host("f", flags("avx"))}, Need{}, "x86-64-v3"},
		"nobody has KVM":                        {[]droveway.Host{host("f", flags(level("x86-64-v3")...))}, Need{}, "host"},
	} {
		if got := Baseline(c.hosts, c.need); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A host that cannot give a machine's CPU is passed over, and the reason names
// what it lacks.
func TestCPUDecides(t *testing.T) {
	t.Parallel()
	kvm := can("accelerator", "kvm")
	old, young := host("old", kvm, flags(level("x86-64-v2")...), can("cpu-model.Haswell", "no: lacks avx2, fma")), host("young", kvm, flags(level("x86-64-v3")...), can("cpu-model.Haswell", "yes"))
	hosts := []droveway.Host{old, young}
	for cpu, why := range map[droveway.CPU]string{
		"x86-64-v3":     "lacks abm, avx, avx2, bmi1, bmi2, f16c, fma, movbe, xsave",
		"x86-64-v2+fma": "lacks fma",
		"Haswell":       "lacks CPU model Haswell (lacks avx2, fma)",
	} {
		need := Need{Requires: cpu.Requires()}
		got, reasons, err := Choose(hosts, need)
		if err != nil || got != "young" || reasons["old"] != why {
			t.Errorf("%s: host %q, %v, %v; want young, and of old %q", cpu, got, reasons, err, why)
		}
		need.Host = "old"
		if _, _, err = Choose(hosts, need); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "old "+why) || !strings.Contains(err.Error(), "--cpu baseline") {
			t.Errorf("%s on old: %v; want Unsupported, %q, and what to do", cpu, err, why)
		}
	}
}

// A guest that lives on needs what it has seen on its host.
func TestAlike(t *testing.T) {
	t.Parallel()
	from := host("from", flags("avx2", "sse4-1", "sse4.1", "sse4_1", "x-vendor-cpuid-only"), can("cpu-vendor", "GenuineIntel"))
	for name, c := range map[string]struct {
		to   droveway.Host
		cpu  droveway.CPU
		want string // empty: it may move there
	}{
		"the same":                    {host("to", flags("avx2", "sse4-1"), can("cpu-vendor", "GenuineIntel")), "host", ""},
		"more":                        {host("to", flags("avx2", "sse4-1", "fma"), can("cpu-vendor", "GenuineIntel")), "", ""},
		"less":                        {host("to", flags("avx2"), can("cpu-vendor", "GenuineIntel")), "host", "lacks sse4-1"},
		"less, but none that it sees": {host("to", can("cpu-vendor", "GenuineIntel")), "x86-64-v1", ""},
		"another maker":               {host("to", flags("avx2", "sse4-1"), can("cpu-vendor", "AuthenticAMD")), "x86-64-v1", "lacks cpu-vendor=GenuineIntel"},
		"another accelerator":         {host("to", can("accelerator", "kvm"), can("cpu-vendor", "GenuineIntel")), "x86-64-v1", "lacks accelerator=tcg"},
	} {
		need := Need{Not: []string{"from"}}
		need.Alike(from, c.cpu)
		_, reasons, err := Choose([]droveway.Host{from, c.to}, need)
		if reasons["to"] != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, reasons["to"], err, c.want)
		}
	}
}
