package droveway

import (
	"slices"
	"strings"
	"testing"
)

// gives is a host that can give its guests flags.
func gives(flags ...string) map[string]string {
	h := map[string]string{"accelerator": "kvm"}
	for _, f := range flags {
		h[CPUFlag(f)] = "yes"
	}
	return h
}

func level(t *testing.T, name string, more ...string) []string {
	t.Helper()
	flags, ok := Level(name)
	if !ok {
		t.Fatalf("there is no level %s", name)
	}
	return append(slices.Clone(flags), more...)
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	v2, v3, v4 := level(t, "x86-64-v2"), level(t, "x86-64-v3"), level(t, "x86-64-v4")
	for name, c := range map[string]struct {
		hosts []map[string]string
		want  CPU
	}{
		"no hosts":                     {nil, CPUHost},
		"a host that says nothing":     {[]map[string]string{gives(v3...), {}}, CPUHost},
		"equal hosts":                  {[]map[string]string{gives(v3...), gives(v3...)}, "x86-64-v3"},
		"the lower one of two":         {[]map[string]string{gives(v4...), gives(v2...)}, "x86-64-v2"},
		"flags that both have":         {[]map[string]string{gives(append(v4, "aes", "rdrand", "smap")...), gives(append(v2, "smap", "aes")...)}, "x86-64-v2+aes+smap"},
		"a gap ends the levels":        {[]map[string]string{gives(slices.DeleteFunc(slices.Clone(v4), func(f string) bool { return f == "ssse3" })...)}, "x86-64-v1"},
		"what is no flag of use stays": {[]map[string]string{gives(append(v2, "vmx", "3dnow")...)}, "x86-64-v2"},
	} {
		if got := Baseline(c.hosts); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestCPURequires(t *testing.T) {
	t.Parallel()
	for c, want := range map[CPU]string{
		"":                    "",
		CPUHost:               "",
		"Haswell-noTSX":       "cpu-model.Haswell-noTSX",
		"Haswell-noTSX+aes":   "cpu-model.Haswell-noTSX cpu.aes",
		"x86-64-v1+aes+pcid":  "cpu.cmov cpu.cx8 cpu.fpu cpu.fxsr cpu.mmx cpu.sse cpu.sse2 cpu.aes cpu.pcid",
		"x86-64-v9+unheardof": "cpu-model.x86-64-v9 cpu.unheardof",
	} {
		if got := strings.Join(c.Requires(), " "); got != want {
			t.Errorf("%q requires %q, want %q", c, got, want)
		}
	}
}

func TestValidCPU(t *testing.T) {
	t.Parallel()
	for _, good := range []CPU{"", "host", "baseline", "x86-64-v3", "x86-64-v2+aes+sse4-1", "Skylake-Server-v5", "Opteron_G5"} {
		if err := good.Validate(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	// A comma would be the hypervisor's own syntax.
	for _, bad := range []CPU{"host+avx", "baseline+avx", "x86,enforce", "Haswell,+avx", "+avx", "a b", "Haswell+", CPU(strings.Repeat("x", maxCPU+1))} {
		if err := bad.Validate(); !Is(err, Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
