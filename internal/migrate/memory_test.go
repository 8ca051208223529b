package migrate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/hypervisor"
)

// A guest whose memory does not come to an end, on hosts that cannot let it follow,
// is told of with both rates; one that is still in its first passes is not.
func TestMemoryThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := &world{t: t}
	for passes, told := range map[int64]bool{maxPasses: false, maxPasses + 1: true} {
		p := hypervisor.MemoryProgress{
			State: hypervisor.Sending, Total: 1 << 30, Iterations: passes, Moved: 7 << 30, Rate: 100 << 20, DirtyRate: 250 << 20, Setup: 40 * time.Millisecond,
		}
		rec := w.move([]job.Step[state]{{Name: "memory", Do: func(ctx context.Context, r *run) error {
			r.State.Result.Memory = &Memory{Way: precopy}
			if err := (&Moves{}).converge(ctx, r, p); err != nil {
				return err
			}
			r.Result(r.State.Result)
			return nil
		}}})
		got := w.result(rec).Memory
		if got == nil || got.Passes != passes || got.LinkRate != p.Rate || got.DirtyRate != p.DirtyRate || got.Bytes != p.Moved || got.SetupMS != 40 {
			t.Fatalf("%d passes: %+v", passes, got)
		}
		why := strings.Contains(got.Why, "changes 250.0 MiB a second") && strings.Contains(got.Why, "100.0 MiB a second are sent") && strings.Contains(got.Why, "--abort")
		if why != told || !told && got.Why != "" {
			t.Errorf("%d passes: why %q", passes, got.Why)
		}
	}
}
