package qemu

import (
	"errors"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Only what is not as it should be is switched, and what QEMU does not have is
// refused without a trace.
func TestPrepareMemory(t *testing.T) {
	t.Parallel()
	const (
		plain = `[{"capability":"postcopy-ram","state":false}]`
		both  = `[{"capability":"postcopy-ram","state":false},{"capability":"postcopy-preempt","state":false},{"capability":"multifd","state":false}]`
		on    = `[{"capability":"postcopy-ram","state":true},{"capability":"postcopy-preempt","state":true},{"capability":"multifd","state":false}]`
	)
	for name, c := range map[string]struct {
		has  string
		how  hypervisor.Way
		kind droveway.Kind
		sets int
	}{
		"plain":               {plain, hypervisor.Postcopy, "", 1},
		"preempt":             {both, hypervisor.Preempt, "", 1},
		"preempt, not there":  {plain, hypervisor.Preempt, droveway.Unsupported, 0},
		"none, none was":      {both, hypervisor.Precopy, "", 0},
		"none after a move":   {on, hypervisor.Precopy, "", 1},
		"preempt, repeated":   {on, hypervisor.Preempt, "", 0},
		"parallel":            {on, hypervisor.Parallel, "", 1},
		"parallel, not there": {plain, hypervisor.Parallel, droveway.Unsupported, 0},
		"compressed":          {on, hypervisor.Compressed, "", 1},
		"plain after preempt": {on, hypervisor.Postcopy, "", 1},
	} {
		i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{"query-migrate-capabilities": c.has, "migrate-set-capabilities": "{}", "migrate-set-parameters": "{}"})
		err := i.PrepareMemory(t.Context(), c.how)
		if got := droveway.KindOf(err); got != c.kind {
			t.Errorf("%s: %v, want %q", name, err, c.kind)
		}
		if n := f.count("migrate-set-parameters"); n > 0 != (c.how.Several() && c.kind == "") {
			t.Errorf("%s: the connections were counted %d times", name, n)
		}
		if n := f.count("migrate-set-capabilities"); n != c.sets {
			t.Errorf("%s: capabilities were set %d times, want %d", name, n, c.sets)
		}
	}
}

// Memory is told to follow once QEMU has set up, and not before.
func TestHurryWaitsForTheSetUp(t *testing.T) {
	t.Parallel()
	i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{"query-migrate": `{"status":"setup"}`, "migrate-start-postcopy": "{}"})
	done := make(chan error, 1)
	go func() { done <- i.Hurry(t.Context()) }()
	for f.count("query-migrate") < 3 {
		select {
		case err := <-done:
			t.Fatalf("it returned during the set-up: %v", err)
		case <-i.end.Done():
			t.Fatal("the instance was closed")
		case <-time.After(lookAgain):
		}
	}
	if n := f.count("migrate-start-postcopy"); n != 0 {
		t.Errorf("told %d times during the set-up", n)
	}
	f.mu.Lock()
	f.answers["query-migrate"] = `{"status":"active"}`
	f.mu.Unlock()
	if err := <-done; err != nil || f.count("migrate-start-postcopy") != 1 {
		t.Errorf("%v, told %d times, want once", err, f.count("migrate-start-postcopy"))
	}
}

// The rate is told once it has been measured.
func TestDirtyRate(t *testing.T) {
	t.Parallel()
	i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{"calc-dirty-rate": "{}", "query-dirty-rate": `{"status":"measuring"}`})
	go func() {
		for f.count("query-dirty-rate") < 3 && i.end.Err() == nil {
			time.Sleep(lookAgain)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answers["query-dirty-rate"] = `{"status":"measured","dirty-rate":3}`
	}()
	if rate, err := i.DirtyRate(t.Context()); err != nil || rate != 3<<20 {
		t.Errorf("%d bytes a second, %v", rate, err)
	}
}

// A way that a host does not have is named, the plain one too.
func TestCannotGo(t *testing.T) {
	t.Parallel()
	for w, want := range map[hypervisor.Way]string{
		hypervisor.Precopy:  "memory cannot go by precopy on this host: no",
		hypervisor.Parallel: "memory cannot go by parallel on this host: no",
	} {
		if got := cannotGo(w, errors.New("no"), "").Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
