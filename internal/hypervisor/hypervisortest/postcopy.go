package hypervisortest

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// The guest leaves at once, its memory and its disks follow. Where the driver or
// the host cannot do that it says so before anything has changed.
func memoryFollows(t *testing.T, e Env) {
	for _, how := range []hypervisor.Postcopy{hypervisor.PlainPostcopy, hypervisor.Preempt} {
		t.Run(string(how), func(t *testing.T) { follows(t, e, how) })
	}
}

func follows(t *testing.T, e Env, how hypervisor.Postcopy) {
	r := facing(t, e, "root", "data")
	from, fromOK := r.from.(hypervisor.PostCopier)
	to, toOK := r.to.(hypervisor.PostCopier)
	if !fromOK || !toOK {
		return // the driver does not claim to
	}
	if err := to.AllowPostcopy(t.Context(), how); droveway.Is(err, droveway.Unsupported) {
		counting(t, r.from.Console(), 1)
		return
	} else if err != nil {
		t.Fatal(err)
	}
	twice(t, "allow postcopy", func() error { return from.AllowPostcopy(t.Context(), how) })
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
