package fleet

import (
	"regexp"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var made = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func machine(name string, created time.Time) *droveway.Machine {
	return &droveway.Machine{Meta: droveway.Meta{Name: name, Created: created}}
}

// What a guest is licensed or configured by must not change with a version of
// the program, so the value itself is part of the test.
func TestUUIDIsStable(t *testing.T) {
	t.Parallel()
	const want = "d93d253c-3183-8580-8fc7-89cb1d2736cb"
	m := machine("web", made)
	for range 2 {
		if got := UUID(m); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	m.Status = droveway.MachineStatus{Host: "b", Token: 9}
	m.Spec.CPUs = 4
	m.Created = made.In(time.FixedZone("", 3600))
	if got := UUID(m); got != want {
		t.Errorf("%s after a move, a change of size and in another time zone; want %s", got, want)
	}
}

func TestUUIDIsOfOneMachine(t *testing.T) {
	t.Parallel()
	seen := map[string]*droveway.Machine{}
	shape := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, m := range []*droveway.Machine{
		machine("web", made), machine("web-1", made), machine("web", made.Add(time.Nanosecond)), machine("web", made.Add(time.Hour)), machine("web", time.Time{}),
	} {
		id := UUID(m)
		if !shape.MatchString(id) {
			t.Errorf("%s is no UUID of version 8 (RFC 9562)", id)
		}
		if other := seen[id]; other != nil {
			t.Errorf("%s made %s and %s made %s have the same UUID", m.Name, m.Created, other.Name, other.Created)
		}
		seen[id] = m
	}
}

// The machine that comes out of the table has the UUID of the one that was put
// in.
func TestTables(t *testing.T) {
	t.Parallel()
	f, err := Open(t.Context(), bustest.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	m := machine("web", made)
	if err := f.Machines.Create(t.Context(), "web", *m); err != nil {
		t.Fatal(err)
	}
	back, _, err := f.Machines.Get(t.Context(), "web")
	if err != nil || UUID(&back) != UUID(m) {
		t.Errorf("%v: %s, want %s", err, UUID(&back), UUID(m))
	}
	if _, _, err := f.Hosts.Get(t.Context(), "web"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a host of the machine's name: %v", err)
	}
	if err := Observed(f.Stores, "a").Create(t.Context(), "web", host.Observed{Machine: "web", Host: "a", Token: 3}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Observed(f.Stores, "b").Get(t.Context(), "web"); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("host b observes what a does: %v", err)
	}
	if all, err := HostReport(f.Stores, "a").List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("reports of host a: %+v, %v", all, err)
	}
}
