package place

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

// host makes a ready host of 4 CPUs, 8 GiB and 100 GiB of disk, changed by edits.
func host(name string, edits ...func(*droveway.Host)) droveway.Host {
	h := droveway.Host{
		Meta: droveway.Meta{Name: name},
		Status: droveway.HostStatus{
			State:        droveway.HostReady,
			Capabilities: map[string]string{"accelerator": "tcg", "kvm": "no", "driver": "qemu"},
			CPUs:         4,
			MemoryMiB:    8192,
			DiskFreeMiB:  102400,
		},
	}
	for _, edit := range edits {
		edit(&h)
	}
	return h
}

func cordoned(h *droveway.Host) { h.Spec.Cordoned = true }

func state(s droveway.HostState) func(*droveway.Host) {
	return func(h *droveway.Host) {
		h.Status.State = s
		if s == droveway.HostJoined {
			h.Status = droveway.HostStatus{State: s}
		}
	}
}

func memory(mib int64) func(*droveway.Host) {
	return func(h *droveway.Host) { h.Status.MemoryMiB = mib }
}

func can(key, value string) func(*droveway.Host) {
	return func(h *droveway.Host) { h.Status.Capabilities[key] = value }
}

func TestChoose(t *testing.T) {
	t.Parallel()
	small := Need{CPUs: 1, MemoryMiB: 512, DiskMiB: 1024}
	with := func(edit func(*Need)) Need {
		n := small
		edit(&n)
		return n
	}
	for name, c := range map[string]struct {
		hosts []droveway.Host
		need  Need
		want  string
		why   map[string]string
	}{
		"first by name of equals": {
			hosts: []droveway.Host{host("b"), host("a")}, need: small, want: "a",
		},
		"most free memory": {
			hosts: []droveway.Host{host("a"), host("b", memory(9000))}, need: small, want: "b",
		},
		"used memory counts": {
			hosts: []droveway.Host{host("a", memory(9000)), host("b")},
			need:  with(func(n *Need) { n.Used = map[string]Usage{"a": {MemoryMiB: 2000}} }),
			want:  "b",
		},
		"exactly full": {
			hosts: []droveway.Host{host("a")},
			need:  Need{CPUs: 4, MemoryMiB: 8192 - 100, DiskMiB: 102400 - 7, Used: map[string]Usage{"a": {MemoryMiB: 100, DiskMiB: 7}}},
			want:  "a",
		},
		"not here": {
			hosts: []droveway.Host{host("a"), host("b", memory(1000))},
			need:  with(func(n *Need) { n.Not = []string{"a"} }),
			want:  "b", why: map[string]string{"a": "is the one it leaves"},
		},
		"only here": {
			hosts: []droveway.Host{host("a"), host("b", memory(1000))},
			need:  with(func(n *Need) { n.Host = "b" }),
			want:  "b", why: map[string]string{"a": "is not b, the only host allowed"},
		},
		"filters": {
			hosts: []droveway.Host{
				host("a", cordoned), host("b", state(droveway.HostUnknown)), host("c", state(droveway.HostJoined)),
				host("d", memory(100)), host("e", func(h *droveway.Host) { h.Status.CPUs, h.Status.DiskFreeMiB = 0, 10 }), host("f"),
			},
			need: small, want: "f",
			why: map[string]string{
				"a": "is cordoned", "b": "is unknown, not ready", "c": "is joined, not ready",
				"d": "has 100 MiB of memory free, 512 are needed",
				"e": "has 0 CPUs, 1 are needed; has 10 MiB of disk free, 1024 are needed",
			},
		},
		// SYSTEMS 1.2: a machine that needs what one type has lands there.
		"feature of one type": {
			hosts: []droveway.Host{host("a", memory(99999)), host("b", can("kvm", "yes")), host("c")},
			need:  with(func(n *Need) { n.Requires = []string{"kvm"} }),
			want:  "b", why: map[string]string{"a": "lacks kvm", "c": "lacks kvm"},
		},
		"feature with a value": {
			hosts: []droveway.Host{host("a"), host("b", can("driver", "libvirt"))},
			need:  with(func(n *Need) { n.Requires = []string{"driver=libvirt", "accelerator=tcg"} }),
			want:  "b", why: map[string]string{"a": "lacks driver=libvirt"},
		},
		"feature that must be absent": {
			hosts: []droveway.Host{host("a", can("kvm", "yes")), host("b")},
			need:  with(func(n *Need) { n.Requires = []string{"kvm=no"} }),
			want:  "b", why: map[string]string{"a": "lacks kvm=no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.why == nil {
				c.why = map[string]string{}
			}
			got, why, err := Choose(c.hosts, c.need)
			if err != nil || got != c.want {
				t.Errorf("chose %q, %v; want %q", got, err, c.want)
			}
			if d := cmp.Diff(c.why, why); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
		})
	}
}

func TestNothingFits(t *testing.T) {
	t.Parallel()
	kvm := Need{CPUs: 1, MemoryMiB: 512, Requires: []string{"kvm"}}
	for name, c := range map[string]struct {
		hosts   []droveway.Host
		need    Need
		kind    droveway.Kind
		feature string
		says    []string
	}{
		"no hosts": {kind: droveway.Unavailable, says: []string{"there are no hosts"}},
		"no such host": {
			hosts: []droveway.Host{host("a")}, need: Need{Host: "z"},
			kind: droveway.NotFound, says: []string{`there is no host "z"`},
		},
		// SYSTEMS 1.2: none has the feature: refused with its name.
		"no host has the feature": {
			hosts: []droveway.Host{host("a"), host("b")}, need: kvm,
			kind: droveway.Unsupported, feature: "kvm", says: []string{"no host has kvm: a lacks kvm; b lacks kvm"},
		},
		"nor would the cordoned one": {
			hosts: []droveway.Host{host("a"), host("b", cordoned)}, need: kvm,
			kind: droveway.Unsupported, feature: "kvm", says: []string{"b is cordoned; lacks kvm"},
		},
		"the only host allowed lacks it": {
			hosts: []droveway.Host{host("a"), host("b", can("kvm", "yes"))},
			need:  Need{CPUs: 1, Requires: []string{"kvm"}, Host: "a"},
			kind:  droveway.Unsupported, feature: "kvm", says: []string{"a lacks kvm", "b is not a"},
		},
		"the one that has it is left": {
			hosts: []droveway.Host{host("a"), host("b", can("kvm", "yes"))},
			need:  Need{CPUs: 1, Requires: []string{"kvm"}, Not: []string{"b"}},
			kind:  droveway.Unsupported, feature: "kvm",
		},
		"each lacks another one": {
			hosts: []droveway.Host{host("a", can("kvm", "yes")), host("b", can("gpu", "yes"))},
			need:  Need{CPUs: 1, Requires: []string{"kvm", "gpu"}},
			kind:  droveway.Unsupported, feature: "kvm, gpu",
		},
		"the one that has it is cordoned": {
			hosts: []droveway.Host{host("a"), host("b", can("kvm", "yes"), cordoned)}, need: kvm,
			kind: droveway.Unavailable, says: []string{"a lacks kvm; b is cordoned"},
		},
		"a new one may have it": {
			hosts: []droveway.Host{host("a"), host("b", state(droveway.HostJoined))}, need: kvm,
			kind: droveway.Unavailable, says: []string{"b is joined, not ready"},
		},
		"too large": {
			hosts: []droveway.Host{host("a")}, need: Need{CPUs: 8, MemoryMiB: 1 << 20, DiskMiB: 1 << 20},
			kind: droveway.Unavailable, says: []string{"4 CPUs, 8 are needed", "8192 MiB of memory", "102400 MiB of disk"},
		},
		"all excluded": {
			hosts: []droveway.Host{host("a")}, need: Need{Not: []string{"a"}, Requires: []string{"kvm"}},
			kind: droveway.Unavailable, says: []string{"a is the one it leaves"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := Choose(c.hosts, c.need)
			if got != "" || droveway.KindOf(err) != c.kind {
				t.Fatalf("got %q, %v; want kind %s", got, err, c.kind)
			}
			if e, ok := err.(*droveway.Error); !ok || e.Feature != c.feature {
				t.Errorf("error %#v, want feature %q", err, c.feature)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %q does not say %q", err, text)
				}
			}
		})
	}
}

func TestChooseLeavesItsInputAlone(t *testing.T) {
	t.Parallel()
	hosts := []droveway.Host{host("b"), host("a", cordoned)}
	want := []droveway.Host{host("b"), host("a", cordoned)}
	if _, _, err := Choose(hosts, Need{CPUs: 1}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, hosts, cmp.Comparer(func(a, b droveway.Host) bool { return a.Name == b.Name })); d != "" {
		t.Errorf("hosts changed:\n%s", d)
	}
}

// A machine that is there already asks for what it wants more of, and for nothing
// else: neither a cordon nor memory that is promised twice stands in its way.
func TestRoom(t *testing.T) {
	t.Parallel()
	used := map[string]Usage{"a": {MemoryMiB: 9000, DiskMiB: 100000}}
	for name, c := range map[string]struct {
		need Need
		says string
	}{
		"fits":           {Need{DiskMiB: 2400, Used: used}, ""},
		"disk":           {Need{DiskMiB: 2401, Used: used}, "host a has 2400 MiB of disk free, 2401 are needed"},
		"memory":         {Need{MemoryMiB: 1, Used: used}, "host a has -808 MiB of memory free, 1 are needed"},
		"CPUs":           {Need{CPUs: 5, Used: used}, "host a has 4 CPUs, 5 are needed"},
		"nothing at all": {Need{Used: used}, ""},
	} {
		err := c.need.Room(host("a", cordoned))
		if c.says == "" && err != nil || c.says != "" && (!droveway.Is(err, droveway.Unavailable) || err.Error() != c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
