//go:build lab

package migrate_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/scene"
)

// SYSTEMS 6.2, 6.4, 6.5, 6.8
func TestMoveOfARunningGuest(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "plain"})
	from := hostOf(t, g)
	to := other(from)
	asked := time.Now()
	j, err := g.Move(t.Context(), to)
	if j, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	seen := g.Client.Between(asked, time.Now())
	if seen.Breaks > 0 {
		t.Errorf("the client's TCP session broke: %s", seen.Cause)
	}
	works(t, g)
	if s := g.Observer.Summary(); len(s.Boots()) != 1 {
		t.Errorf("boot ids %v: want the one it had", s.Boots())
	}
	r := result(t, j)
	if !r.Equal || r.Live != to || r.SyncBytes != diskMiB<<20 {
		t.Errorf("result %+v: want equal disks of %d bytes, live on %s", r, diskMiB<<20, to)
	}
	mustBeGone(t, from, g.Name)
	t.Logf("running after %d ms, QEMU's downtime %d ms, the client's longest gap %s, disk followed in %d ms",
		r.RequestToRunning, r.Downtime, seen.LongestGap.Round(time.Millisecond), r.Sync)
	nothingLost(t, g)
}

// SYSTEMS 6.5, 6.11: both formats, several disks, memory that changes all the
// time.
func TestMoveWithSeveralDisks(t *testing.T) {
	g := guest(t, scene.GuestConfig{
		Name: "disks", Format: droveway.QCOW2,
		More: []droveway.Disk{{Name: "data", SizeMiB: 32, Format: droveway.Raw}, {Name: "more", SizeMiB: 32, Format: droveway.QCOW2}},
	})
	j, err := g.Move(t.Context(), other(hostOf(t, g)))
	if j, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	if r := result(t, j); !r.Equal || r.SyncBytes != (diskMiB+64)<<20 {
		t.Errorf("result %+v: want all three disks equal", r)
	}
	works(t, g)
	nothingLost(t, g)
}

// SYSTEMS 6.10
func TestCancelledMove(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "cancel", Work: scene.Dirty(48)})
	from := hostOf(t, g)
	j, err := g.Move(t.Context(), other(from))
	if err != nil {
		t.Fatal(err)
	}
	reached(t, j, "memory")
	if _, err := stage.API.CancelJob(t.Context(), j.Name); err != nil && !droveway.Is(err, droveway.Conflict) {
		t.Fatal(err)
	}
	if j, err = stage.Wait(t.Context(), j, nil); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	if j.State == droveway.JobFailed {
		if h := hostOf(t, g); h != from {
			t.Errorf("the machine is on %s, want %s", h, from)
		}
		mustBeGone(t, other(from), g.Name)
	}
	if s := g.Observer.Summary(); len(s.Boots()) != 1 {
		t.Errorf("boot ids %v: want the one it had", s.Boots())
	}
	nothingLost(t, g)
}

// Agents that are killed adopt what runs: same process. SYSTEMS 1.4
func TestAgentKilled(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "adopt"})
	h := hostOf(t, g)
	before := processes(qemu, h, g.Name)
	mustNotBeRoot(t, before)
	restart(t, h)
	works(t, g)
	if after := processes(qemu, h, g.Name); len(before) != 1 || len(after) != 1 || before[0] != after[0] {
		t.Errorf("processes %v before, %v after", before, after)
	}
	kill(t, qemu, h, g.Name)
	works(t, g) // it is seen, and started again: SYSTEMS 1.8
	if s := g.Observer.Summary(); len(s.Boots()) != 2 || s.Rewound() > 0 {
		t.Errorf("boots %v, %d acknowledged records rewound: want two boots, none", s.Boots(), s.Rewound())
	}
}

// mustNotBeRoot holds wherever the kernel lets the memory of other users' guests
// follow; elsewhere the lab's guests are root's.
func mustNotBeRoot(t *testing.T, pids []int) {
	t.Helper()
	if b, err := os.ReadFile("/proc/sys/vm/unprivileged_userfaultfd"); err == nil && strings.TrimSpace(string(b)) == "0" {
		return
	}
	for _, pid := range pids {
		var st syscall.Stat_t
		check(t, syscall.Stat(fmt.Sprintf("/proc/%d", pid), &st))
		if st.Uid == 0 {
			t.Errorf("process %d of the guest is root's", pid)
		}
	}
}

// restart kills a role with -9 and starts it again.
func restart(t *testing.T, role string) {
	t.Helper()
	if role == "server" {
		check(t, stage.Lab.KillServer())
		check(t, stage.Lab.StartServer(t.Context()))
		return
	}
	check(t, stage.Lab.KillHost(role))
	check(t, stage.Lab.StartHost(t.Context(), role))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reached waits until a job is in a step, past it, or has ended.
func reached(t *testing.T, j droveway.Job, step string) {
	t.Helper()
	ok := within(jobTime, func() bool {
		now, err := stage.API.Job(t.Context(), j.Name)
		if err != nil {
			return false
		}
		for _, d := range append(now.Done, now.Step) {
			if d == step {
				return true
			}
		}
		return now.State.Ended()
	})
	if !ok {
		t.Fatalf("job %s does not reach step %s", j.Name, step)
	}
}
