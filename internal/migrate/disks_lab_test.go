//go:build lab

package migrate_test

import (
	"syscall"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/scene"
)

const mib = 1 << 20

// Two disks beside the root disk, one of each format. A move keeps the format.
var more = []droveway.Disk{{Name: "data", SizeMiB: 64, Format: droveway.Raw}, {Name: "more", SizeMiB: 64, Format: droveway.QCOW2}}

// do has the guest do something to a range of each of its further disks, in MiB.
func do(t *testing.T, g *scene.Guest, verb hand.Verb, from, to int64) {
	t.Helper()
	for _, d := range g.Disks[1:] {
		_, err := g.Do(t.Context(), hand.Order{Do: verb, Disk: d.Name, Offset: from * mib, Length: (to - from) * mib})
		check(t, err)
	}
}

// file is a disk's file on a host.
func file(g *scene.Guest, host string, d droveway.Disk) string {
	return stage.Volume(host, g.Name, d.Name, d.Format)
}

// taken is how much room a disk takes on a host, in bytes.
func taken(t *testing.T, g *scene.Guest, host string, d droveway.Disk) int64 {
	t.Helper()
	var st syscall.Stat_t
	check(t, syscall.Stat(file(g, host, d), &st))
	return st.Blocks * 512
}

// hydrating moves a guest whose copy is bounded, and returns while it runs.
func hydrating(t *testing.T, g *scene.Guest, rate int64) (j droveway.Job, from, to string) {
	t.Helper()
	return hydratingBy(t, g, client.MoveRequest{SyncRate: rate})
}

func hydratingBy(t *testing.T, g *scene.Guest, m client.MoveRequest) (j droveway.Job, from, to string) {
	t.Helper()
	from = hostOf(t, g)
	to = other(from)
	m.To = to
	j, err := stage.API.MoveMachine(t.Context(), g.Name, m, "")
	check(t, err)
	reached(t, j, "hydrate")
	stillHydrating(t, j)
	return j, from, to
}

func stillHydrating(t *testing.T, j droveway.Job) {
	t.Helper()
	now, err := stage.API.Job(t.Context(), j.Name)
	check(t, err)
	if now.Step != "hydrate" {
		t.Fatalf("job %s is %s in step %q: it hydrates no more, so what was done shows nothing", j.Name, now.State, now.Step)
	}
}

// atRate changes the rate of the copy.
func atRate(t *testing.T, g *scene.Guest, rate int64) {
	t.Helper()
	_, err := stage.API.SetMoveRate(t.Context(), g.Name, client.RateRequest{SyncRate: rate})
	check(t, err)
}

// succeeds waits for a move, whose copies must have been proved equal.
func succeeds(t *testing.T, j droveway.Job) client.MoveResult {
	t.Helper()
	j, err := stage.Must(t.Context(), j, nil)
	check(t, err)
	r := result(t, j)
	if !r.Equal {
		t.Errorf("result %+v: want equal copies", r)
	}
	return r
}

// reads checks a range of a disk, in MiB, as the guest sees it.
func reads(t *testing.T, g *scene.Guest, d droveway.Disk, from, to int64, empty func(at int64) bool) {
	t.Helper()
	a, err := g.Do(t.Context(), hand.Order{Do: hand.Sum, Disk: d.Name, Offset: from * mib, Length: (to - from) * mib})
	check(t, err)
	if a.Sum != hand.SumOf(from*mib, (to-from)*mib, empty) {
		t.Errorf("disk %s reads otherwise than the guest left it, from %d to %d MiB", d.Name, from, to)
	}
}
