package host

import (
	"fmt"
	"testing"

	"github.com/droveway/droveway/internal/hypervisor"
)

// Of machines that a host has nothing of it keeps nothing either, whoever asks for
// them or commands them: names are endless.
func TestKeepsNothingOfUnknown(t *testing.T) {
	t.Parallel()
	r, ctx := newRig(t), t.Context()
	n := r.host("a")
	for i := range 20 {
		name := fmt.Sprintf("ghost-%d", i)
		o, err := r.Show(ctx, "a", name)
		must(t, err)
		if o.Machine != name || o.Role != RoleNone || o.Instance != hypervisor.Gone {
			t.Errorf("of a machine that is not here: %+v", o)
		}
		if _, err := r.Stop(ctx, "a", Stop{Ref: Ref{name, 1}}); err == nil {
			t.Error("a machine that is not here was stopped")
		}
	}
	if all := n.all(); len(all) != 0 {
		t.Errorf("%d entries are kept, of %s first", len(all), all[0].name)
	}
}
