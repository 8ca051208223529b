//go:build lab

package qemu

import (
	"maps"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// Guests run with each level that this host gives, and what it cannot give is
// refused: by the driver, which knows, and by QEMU, should the driver be wrong.
func TestCPUIsGivenOrRefused(t *testing.T) {
	t.Parallel()
	d := New(Config{Accel: tcg})
	if _, err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, cpu := range []droveway.CPU{"x86-64-v1", "x86-64-v2+aes", "x86-64-v3", "Nehalem", "host"} {
		s := labSpec(t)
		s.CPU = cpu
		i := labStart(t, d, s)
		soon(t, "a guest with CPU "+string(cpu)+" runs", func() bool { return counted(t, i) > 0 })
	}
	s := labSpec(t)
	s.CPU = "x86-64-v4"
	if _, err := d.Start(t.Context(), s); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "avx512f") {
		t.Errorf("x86-64-v4: %v; want Unsupported that names avx512f", err)
	}
	wrong := *d.found
	wrong.found = maps.Clone(wrong.found)
	for _, need := range s.CPU.Requires() {
		wrong.found[need] = "yes"
	}
	d.found = &wrong
	if _, err := d.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "support requested feature") {
		t.Errorf("QEMU starts with x86-64-v4: %v", err)
	}
}

func TestHiddenFlags(t *testing.T) {
	t.Parallel()
	d := New(Config{Accel: tcg, HideCPU: []string{"avx2", "sse4-2"}})
	found, err := d.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"cpu.avx2", "cpu.sse4-2", "cpu.sse4.2", "cpu.sse4_2"} {
		if found[key] != "" {
			t.Errorf("%s is %q, though it is hidden", key, found[key])
		}
	}
	if why := found["cpu-model.Nehalem"]; !strings.Contains(why, "sse4-2") {
		t.Errorf("model Nehalem, which has sse4-2: %q", why)
	}
	s := labSpec(t)
	s.CPU = droveway.CPUHost
	i := labStart(t, d, s)
	soon(t, "a guest without the hidden flags runs", func() bool { return counted(t, i) > 0 })
}
