package place

import (
	"maps"
	"slices"
	"strings"

	"github.com/droveway/droveway"
)

// Baseline is the best CPU of which every host gives all that a machine may ever
// be on, also of those that take no machine for now. Hosts without KVM do not
// count: their CPU is the hypervisor's own, and a guest cannot go from one to a
// host with KVM or back while it runs.
func Baseline(hosts []droveway.Host, need Need) droveway.CPU {
	var all []map[string]string
	for _, h := range hosts {
		if known(h) && h.Status.Capabilities["accelerator"] == "kvm" && need.means(h) && len(need.lacks(h)) == 0 {
			all = append(all, h.Status.Capabilities)
		}
	}
	return droveway.Baseline(all)
}

// Alike adds to a need what a guest needs that runs on a host and leaves it
// running: it has seen that host's CPU, and its state is that of its accelerator.
func (n *Need) Alike(from droveway.Host, cpu droveway.CPU) {
	n.Requires = slices.Clone(n.Requires)
	for _, key := range []string{"accelerator", "cpu-vendor"} {
		if value := from.Status.Capabilities[key]; value != "" {
			n.Requires = append(n.Requires, key+"="+value)
		}
	}
	if !cpu.OfHost() {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(from.Status.Capabilities)) {
		if canonical(key) && from.Status.Capabilities[key] == "yes" {
			n.Requires = append(n.Requires, key)
		}
	}
}

// settings begin the names of properties of QEMU's CPUs that are no flags.
var settings = []string{"x-", "kvm", "tcg-", "vmware-", "host-", "fill-", "full-", "cpuid-", "legacy-", "l3-cache", "check", "enforce", "migratable", "pmu"}

// canonical reports whether a capability is a flag of the CPU under its own name:
// QEMU has some under several, as sse4.1, sse4_1 and sse4-1.
func canonical(key string) bool {
	flag, ok := strings.CutPrefix(key, droveway.CPUFlag(""))
	return ok && !strings.ContainsAny(flag, "._") &&
		!slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(flag, s) })
}

// worded names requirements that a host does not meet for people: flags of the
// CPU as the CPU's maker calls them, and of a model what it lacks.
func worded(h droveway.Host, missing []string) []string {
	var all []string
	for _, r := range missing {
		if flag, ok := strings.CutPrefix(r, droveway.CPUFlag("")); ok {
			r = flag
		} else if model, ok := strings.CutPrefix(r, droveway.CPUModel("")); ok {
			r = "CPU model " + model
			if why, ok := strings.CutPrefix(h.Status.Capabilities[droveway.CPUModel(model)], "no: "); ok {
				r += " (" + why + ")"
			}
		}
		all = append(all, r)
	}
	return all
}

// advice says what to do about hosts that lack some of a CPU, by the names of what
// is missing; empty if it is something else.
func (n *Need) advice(hosts []droveway.Host, missing string) string {
	if !strings.HasPrefix(missing, "cpu") || strings.Contains(missing, "=") {
		return ""
	}
	return "; choose another host, or a CPU that all hosts give: --cpu " + string(droveway.CPUBaseline)
}
