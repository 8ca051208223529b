package migrate

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
)

// Copies that differ are not taken for equal: the source keeps its own until they
// are. SYSTEMS 6.8
func TestDifferentCopiesAreNotReleased(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	f, err := os.OpenFile(filepath.Join(w.hosts[1].dir, "volumes", droveway.VolumeName(name, "root")+".raw"), os.O_RDWR, 0)
	if err == nil {
		t.Fatal("the target has a disk before the move")
	}
	steps := w.moves.steps(w.request())
	const at = 5 << 20
	kept := make(chan bool, 1)
	before(steps, "prove", func() {
		f, err = os.OpenFile(filepath.Join(w.hosts[1].dir, "volumes", droveway.VolumeName(name, "root")+".raw"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte{1}, at)
		must(t, err)
		time.AfterFunc(500*time.Millisecond, func() {
			left, err := filepath.Glob(filepath.Join(w.hosts[0].dir, "volumes", "*.raw"))
			kept <- err == nil && len(left) == 1
			_, _ = f.WriteAt([]byte{0}, at) // mended: the proof can come true
			_ = f.Close()
		})
	})
	rec := w.move(steps)
	if rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s: %s", rec.Job.State, rec.Job.Error)
	}
	select {
	case ok := <-kept:
		if !ok {
			t.Error("the source's copy was removed while the copies differed")
		}
	default:
		t.Error("the move ended while the copies differed")
	}
	w.mustLive(1, 1)
}

// A verdict that the target could carry out and not write down, for want of room
// perhaps, counts all the same.
func TestVerdictThatWasNotWrittenDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	steps := w.moves.steps(w.request())
	before(steps, "prove", func() {
		must(t, w.guest(1).Settle(t.Context(), func(context.Context) error { return nil }))
	})
	if rec := w.move(steps); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s in step %s: %s", rec.Job.State, rec.Job.Step, rec.Job.Error)
	}
	w.mustLive(1, 1)
}

// late is a way to hosts on which a verdict is answered with the end of an earlier
// one, which a killed server gave: that the disks differ.
type late struct {
	host.Caller
	once sync.Once
}

func (l *late) Call(ctx context.Context, to, verb string, in, out any) error {
	if v, ok := in.(host.Verdict); ok && v.Equal {
		l.once.Do(func() { v.Equal = false })
		in = v
	}
	return l.Caller.Call(ctx, to, verb, in, out)
}

// The source keeps its disks until the target has them as its own, whatever the
// answer to the verdict was. SYSTEMS 6.8
func TestVerdictThatMeetsAnEarlierOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startBus(t))
	w.moves.cfg.Hosts = host.NewClient(&late{Caller: w.conn})
	if rec := w.move(w.moves.steps(w.request())); rec.Job.State != droveway.JobSucceeded {
		t.Fatalf("the move %s in step %s: %s", rec.Job.State, rec.Job.Step, rec.Job.Error)
	}
	w.mustLive(1, 1)
}

func TestSoFar(t *testing.T) {
	t.Parallel()
	for past, want := range map[time.Duration]droveway.Progress{
		900 * time.Millisecond: {Done: 30, Total: 90},
		3 * time.Second:        {Done: 30, Total: 90, Rate: 10, Remaining: 6000},
	} {
		if got := soFar(30, 90, past); got != want {
			t.Errorf("after %s: %+v, want %+v", past, got, want)
		}
	}
}
