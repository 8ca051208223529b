//go:build lab

package migrate_test

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/scene"
)

// A guest sees its disks grow while it works, whoever is killed meanwhile, uses
// the new room, and moves with it; at its new place it can grow again. SYSTEMS 6.11
func TestResizeOfARunningGuest(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "grow", More: more})
	do(t, g, hand.Fill, 0, 8)
	from := hostOf(t, g)
	j := resize(t, g, client.ResizeRequest{Disks: []client.DiskSize{{Name: "root", SizeMiB: diskMiB + 32}, {Name: "data", SizeMiB: 96}, {Name: "more", SizeMiB: 96}}})
	restart(t, "server")
	restart(t, from)
	mustEnd(t, j)
	sees(t, g, map[string]int64{"root": diskMiB + 32, "data": 96, "more": 96})
	do(t, g, hand.Fill, 64, 72)
	m, err := g.Move(t.Context(), other(from))
	check(t, err)
	r := succeeds(t, m)
	if want := int64(diskMiB+32+96+96) << 20; r.SyncBytes != want {
		t.Errorf("%d bytes were copied, want %d", r.SyncBytes, want)
	}
	holdsFilled(t, g)
	mustEnd(t, resize(t, g, client.ResizeRequest{Disks: []client.DiskSize{{Name: "data", SizeMiB: 100}, {Name: "more", SizeMiB: 100}}}))
	sees(t, g, map[string]int64{"data": 100, "more": 100})
	works(t, g)
	if s := g.Observer.Summary(); len(s.Boots()) != 1 {
		t.Errorf("boots %v: want the one it had", s.Boots())
	}
	bootsLarger(t, g)
	nothingLost(t, g)
}

// bootsLarger changes what a standing machine alone can change.
func bootsLarger(t *testing.T, g *scene.Guest) {
	t.Helper()
	_, err := stage.API.ResizeMachine(t.Context(), g.Name, client.ResizeRequest{MemoryMiB: memoryMiB + 32}, "")
	if !droveway.Is(err, droveway.Conflict) {
		t.Errorf("memory of a running machine: %v, want a conflict", err)
	}
	j, err := stage.API.StopMachine(t.Context(), g.Name, client.StopRequest{GraceSeconds: 5}, "")
	check(t, err)
	mustEnd(t, j)
	mustEnd(t, resize(t, g, client.ResizeRequest{CPUs: 2, MemoryMiB: memoryMiB + 32, Disks: []client.DiskSize{{Name: "data", SizeMiB: 128}, {Name: "more", SizeMiB: 128}}}))
	j, err = stage.API.StartMachine(t.Context(), g.Name, "")
	check(t, err)
	mustEnd(t, j)
	works(t, g)
	sees(t, g, map[string]int64{"root": diskMiB + 32, "data": 128, "more": 128})
	holdsFilled(t, g)
}

func resize(t *testing.T, g *scene.Guest, r client.ResizeRequest) droveway.Job {
	t.Helper()
	j, err := stage.API.ResizeMachine(t.Context(), g.Name, r, "")
	check(t, err)
	return j
}

func mustEnd(t *testing.T, j droveway.Job) {
	t.Helper()
	_, err := stage.Must(t.Context(), j, nil)
	check(t, err)
}

// sees waits until the guest sees its disks as large as they are, in MiB.
func sees(t *testing.T, g *scene.Guest, sizes map[string]int64) {
	t.Helper()
	for disk, want := range sizes {
		var a hand.Answer
		ok := eventually(func() bool {
			var err error
			a, err = g.Do(t.Context(), hand.Order{Do: hand.Size, Disk: disk})
			check(t, err)
			return a.Size == want<<20
		})
		if !ok {
			t.Errorf("the guest sees disk %s with %d bytes, want %d MiB", disk, a.Size, want)
		}
	}
}

// holdsFilled checks the first 96 MiB of the further disks, of which the first
// eight and those after 64 were filled.
func holdsFilled(t *testing.T, g *scene.Guest) {
	t.Helper()
	for _, d := range g.Disks[1:] {
		reads(t, g, d, 0, 96, func(at int64) bool { return at >= 8*mib && at < 64*mib || at >= 72*mib })
	}
}
