package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func planFor(t *testing.T, change func(*Config)) (plan, error) {
	t.Helper()
	c := Config{Dir: filepath.Join(t.TempDir(), "lab"), Hosts: 2, Binary: "/bin/true"}
	change(&c)
	return newPlan(c)
}

func TestNamesFollowFromTheDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := planFor(t, func(c *Config) { c.Dir = dir })
	if err != nil {
		t.Fatal(err)
	}
	b, err := planFor(t, func(c *Config) { c.Dir = dir + "/." })
	if err != nil {
		t.Fatal(err)
	}
	other, err := planFor(t, func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != b.ID || a.ID == other.ID {
		t.Errorf("ids %s, %s, %s: want the first two equal and the third another", a.ID, b.ID, other.ID)
	}
	// Names of links have 15 characters, with or without a namespace around them.
	for _, name := range []string{prefix(a.ID), a.members()[2].Name} {
		if len(name) > 15 {
			t.Errorf("%q is too long for a link", name)
		}
	}
}

func TestEveryMemberHasItsAddress(t *testing.T) {
	t.Parallel()
	p, err := planFor(t, func(c *Config) { c.Hosts = maxHosts })
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, m := range p.members() {
		if !p.Subnet.Contains(m.Address) || slices.Contains(seen, m.Address.String()) || m.Address == uplinkAddress {
			t.Errorf("%s has %s: outside of %s, or taken", m.Name, m.Address, p.Subnet)
		}
		seen = append(seen, m.Address.String())
	}
	if last := p.Hosts[maxHosts-1].Name; last != "host-z" {
		t.Errorf("the last host is %s: want host-z", last)
	}
}

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*Config){
		"no hosts":             func(c *Config) { c.Hosts = 0 },
		"too many hosts":       func(c *Config) { c.Hosts = maxHosts + 1 },
		"negative rate":        func(c *Config) { c.LinkRate = -1 },
		"no binary":            func(c *Config) { c.Binary = "/nowhere/droveway" },
		"binary that is a dir": func(c *Config) { c.Binary = "/bin" },
		"binary without x":     func(c *Config) { c.Binary = "/etc/passwd" },
	} {
		if _, err := planFor(t, change); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v: want a refusal of kind invalid", what, err)
		}
	}
}

func TestPlanComesBack(t *testing.T) {
	t.Parallel()
	p, err := planFor(t, func(c *Config) { c.HostFlags, c.LinkRate = []string{"--accel=tcg"}, 1e9 })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadPlan(p.Dir); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("before: %v", err)
	}
	if err := claim(p); err != nil {
		t.Fatal(err)
	}
	got, err := loadPlan(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
	if err := claim(p); !droveway.Is(err, droveway.Exists) {
		t.Errorf("second claim: %v", err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir, planFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPlan(p.Dir); err == nil || !strings.Contains(err.Error(), planFile) {
		t.Errorf("damaged plan: %v: want the file named", err)
	}
}

func TestProcessIsKnownByItsStart(t *testing.T) {
	t.Parallel()
	started, err := startTicks(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p := (process{PID: os.Getpid(), Started: started}); !p.alive() {
		t.Error("we do not live")
	}
	// The same number, but somebody else.
	if p := (process{PID: os.Getpid(), Started: started - 1}); p.alive() {
		t.Error("a later process is taken for an earlier one")
	}
}

func FuzzParseTicks(f *testing.F) {
	f.Add([]byte("7 (a ) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1"))
	f.Add([]byte("7 (a) Z 1"))
	f.Add([]byte("7 (a) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseTicks(7, b); err == nil && len(b) < 40 {
			t.Errorf("%q was read", b)
		}
	})
}

func TestZombieIsGone(t *testing.T) {
	t.Parallel()
	const rest = " 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1"
	if n, err := parseTicks(7, []byte("7 (a ) Z (c) S"+rest)); err != nil || n != 4711 {
		t.Errorf("living: %d, %v: want 4711", n, err)
	}
	if n, err := parseTicks(7, []byte("7 (a) Z"+rest)); err == nil {
		t.Errorf("zombie: %d", n)
	}
}
