package droveway

import (
	"regexp"
	"slices"
	"strings"
)

// CPU says what CPU the guests of a machine see. A guest can move only to a host
// that gives all of it, for it has looked at the flags when it booted.
//
//	host          that of the host it started on: the fastest, and the hardest to move
//	baseline      the best that all hosts give; a new machine gets the name of that
//	x86-64-v3     a level of the x86-64 psABI, from v1 to v4
//	Haswell       a model of the hypervisor
//
// Names of flags may follow, as in x86-64-v2+aes. Empty stands for host.
type CPU string

// The CPUs that are not a model.
const (
	CPUHost     CPU = "host"
	CPUBaseline CPU = "baseline"
)

// levels are the flags that each level of the psABI adds to the one before, under
// QEMU's names (https://gitlab.com/x86-psABIs/x86-64-ABI).
var levels = []struct {
	name  string
	flags []string
}{
	{"x86-64-v1", []string{"cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2"}},
	{"x86-64-v2", []string{"cx16", "lahf-lm", "popcnt", "pni", "sse4-1", "sse4-2", "ssse3"}},
	{"x86-64-v3", []string{"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}},
	{"x86-64-v4", []string{"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}},
}

// beyond are flags outside the levels that are worth having: they speed up
// encryption and the kernel, or keep other programs from reading what is not
// theirs.
var beyond = []string{
	"aes", "pclmulqdq", "sha-ni", "rdrand", "rdseed", "adx", "erms", "fsgsbase", "invpcid", "pcid", "pdpe1gb", "rdtscp", "tsc-deadline", "x2apic", "xsaveopt",
	"smep", "smap", "umip", "ibpb", "md-clear", "spec-ctrl", "ssbd", "stibp",
}

var cpuPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*(\+[a-z0-9][a-z0-9_.-]*)*$`)

// maxCPU bounds the text of a CPU: the baseline of equal hosts has about 200 bytes.
const maxCPU = 1024

// Validate checks the form; whether there is such a model only a hypervisor knows.
func (c CPU) Validate() error {
	model, extra := c.Split()
	switch {
	case c == "":
		return nil
	case len(c) > maxCPU || !cpuPattern.MatchString(string(c)):
		return Errorf(Invalid, "CPU %q: give host, baseline, x86-64-v1 to x86-64-v4, or a model of the hypervisor, and +FLAG for more flags", c)
	case len(extra) > 0 && (model == string(CPUHost) || model == string(CPUBaseline)):
		return Errorf(Invalid, "CPU %q: %s takes no more flags", c, model)
	}
	return nil
}

// Split gives the model and the flags that are named beyond it.
func (c CPU) Split() (model string, extra []string) {
	parts := strings.Split(string(c), "+")
	return parts[0], parts[1:]
}

// OfHost reports whether the guest sees the CPU of its host.
func (c CPU) OfHost() bool { return c == "" || c == CPUHost }

// Level gives all flags of a level; false: the model is none.
func Level(model string) (flags []string, ok bool) {
	for _, l := range levels {
		flags = append(flags, l.flags...)
		if l.name == model {
			return flags, true
		}
	}
	return nil, false
}

// CPUFlag is the capability of a host whose guests can have a flag.
func CPUFlag(flag string) string { return "cpu." + flag }

// CPUModel is the capability of a host whose guests can have a model.
func CPUModel(model string) string { return "cpu-model." + model }

// Requires gives the capabilities that a host must have for the CPU; none for
// that of the host itself.
func (c CPU) Requires() (all []string) {
	if c.OfHost() || c == CPUBaseline {
		return nil
	}
	model, flags := c.Split()
	if level, ok := Level(model); ok {
		flags = append(level, flags...)
	} else {
		all = append(all, CPUModel(model))
	}
	for _, f := range flags {
		all = append(all, CPUFlag(f))
	}
	return all
}

// Baseline is the best CPU that all of some hosts give, by their capabilities; that
// of the host if there are none, or one of them says nothing of CPUs.
func Baseline(hosts []map[string]string) CPU {
	all := func(flags []string) bool {
		return !slices.ContainsFunc(flags, func(f string) bool {
			return slices.ContainsFunc(hosts, func(h map[string]string) bool { return h[CPUFlag(f)] != "yes" })
		})
	}
	if len(hosts) == 0 {
		return CPUHost
	}
	var best string
	for _, l := range levels {
		if !all(l.flags) {
			break
		}
		best = l.name
	}
	if best == "" {
		return CPUHost
	}
	for _, f := range beyond {
		if all([]string{f}) {
			best += "+" + f
		}
	}
	return CPU(best)
}
