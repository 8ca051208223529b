package hypervisortest

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// The guest leaves at once, its memory and its disks follow. Where the driver or
// the host cannot do that it says so before anything has changed.
func memoryFollows(t *testing.T, e Env) {
	for _, how := range []hypervisor.Way{hypervisor.Postcopy, hypervisor.Preempt} {
		t.Run(string(how), func(t *testing.T) { follows(t, e, how) })
	}
}

func follows(t *testing.T, e Env, how hypervisor.Way) {
	r := facing(t, e, "root", "data")
	from, fromOK := r.from.(hypervisor.MemoryMover)
	to, toOK := r.to.(hypervisor.MemoryMover)
	if !fromOK || !toOK {
		return // the driver does not claim to
	}
	if err := to.PrepareMemory(t.Context(), how); droveway.Is(err, droveway.Unsupported) {
		counting(t, r.from.Console(), 1)
		return
	} else if err != nil {
		t.Fatal(err)
	}
	twice(t, "prepare memory", func() error { return from.PrepareMemory(t.Context(), how) })
	r.receive()
	if err := from.Send(t.Context(), r.memory, "b", 0); err != nil {
		t.Fatal(err)
	}
	twice(t, "hurry", func() error { return from.Hurry(t.Context()) })
	is(t, r.from, hypervisor.Held)
	r.handOver()
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 2)
	eventually(t, "all memory is over", func() bool {
		p, err := r.from.Sent(t.Context())
		if err != nil || p.State != hypervisor.Sent || p.Error != "" {
			t.Fatalf("%+v, %v", p, err)
		}
		return !p.Follows && !r.hydration().Follows
	})
	r.ready()
	r.settle()
	r.counts()
}

// Memory goes over several connections at once, where the driver can, and the guest goes
// on with all of it.
func memoryInParallel(t *testing.T, e Env) {
	for _, how := range []hypervisor.Way{hypervisor.Parallel, hypervisor.Compressed} {
		t.Run(string(how), func(t *testing.T) { inParallel(t, e, how) })
	}
}

func inParallel(t *testing.T, e Env, how hypervisor.Way) {
	r := facing(t, e, "root")
	from, fromOK := r.from.(hypervisor.MemoryMover)
	to, toOK := r.to.(hypervisor.MemoryMover)
	if !fromOK || !toOK {
		return // the driver does not claim to
	}
	if rate, err := from.DirtyRate(t.Context()); err != nil || rate < 0 {
		t.Errorf("the guest changes %d bytes of its memory a second: %v", rate, err)
	}
	if err := to.PrepareMemory(t.Context(), how); droveway.Is(err, droveway.Unsupported) && how == hypervisor.Compressed {
		counting(t, r.from.Console(), 1)
		return
	}
	twice(t, "prepare memory", func() error { return to.PrepareMemory(t.Context(), how) })
	twice(t, "prepare memory", func() error { return from.PrepareMemory(t.Context(), how) })
	r.receive()
	if err := from.Send(t.Context(), r.memory, "b", 0); err != nil {
		t.Fatal(err)
	}
	is(t, r.from, hypervisor.Held)
	if n := connections(t, r.memory); n < 2 {
		t.Errorf("memory goes over %d connections, not over several", n)
	}
	r.handOver()
	r.export()
	r.takeOver(0)
	counting(t, r.to.Console(), 2)
	r.ready()
	r.settle()
	r.counts()
}

// connections counts those to an address of this host that the kernel has (proc(5),
// /proc/net/tcp).
func connections(t *testing.T, address string) (n int) {
	t.Helper()
	const established = "01"
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf(":%04X", netip.MustParseAddrPort(address).Port())
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], port) && f[3] == established {
			n++
		}
	}
	return n
}
