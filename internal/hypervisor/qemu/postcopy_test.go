package qemu

import (
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Only what is not as it should be is switched, and what QEMU does not have is
// refused without a trace.
func TestAllowPostcopy(t *testing.T) {
	t.Parallel()
	const (
		plain = `[{"capability":"postcopy-ram","state":false}]`
		both  = `[{"capability":"postcopy-ram","state":false},{"capability":"postcopy-preempt","state":false}]`
		on    = `[{"capability":"postcopy-ram","state":true},{"capability":"postcopy-preempt","state":true}]`
	)
	for name, c := range map[string]struct {
		has  string
		how  hypervisor.Postcopy
		kind droveway.Kind
		sets int
	}{
		"plain":               {plain, hypervisor.PlainPostcopy, "", 1},
		"preempt":             {both, hypervisor.Preempt, "", 1},
		"preempt, not there":  {plain, hypervisor.Preempt, droveway.Unsupported, 0},
		"none, none was":      {both, hypervisor.NoPostcopy, "", 0},
		"none after a move":   {on, hypervisor.NoPostcopy, "", 1},
		"preempt, repeated":   {on, hypervisor.Preempt, "", 0},
		"plain after preempt": {on, hypervisor.PlainPostcopy, "", 1},
	} {
		i, f := fakeInstance(t, hypervisor.Spec{}, map[string]string{"query-migrate-capabilities": c.has, "migrate-set-capabilities": "{}"})
		err := i.AllowPostcopy(t.Context(), c.how)
		if got := droveway.KindOf(err); got != c.kind {
			t.Errorf("%s: %v, want %q", name, err, c.kind)
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
