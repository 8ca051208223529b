//go:build lab

package migrate_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/scene"
)

// SYSTEMS 6.11: what the guest had discarded takes no room at its new place. What
// it zeroes while its disks follow is zero on both hosts, whether it had been copied
// yet or not; what it discards meanwhile does no harm; the rest is as it was. After
// the move discards give room back again, all of it. The machine has a raw and a
// qcow2 disk.
func TestDiscardsAndZeroes(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "trim", More: more})
	do(t, g, hand.Fill, 0, 32)
	do(t, g, hand.Discard, 24, 28)
	do(t, g, hand.Punch, 28, 32)
	takesAtMost(t, g, hostOf(t, g), 24)
	j, from, to := hydrating(t, g, 12*mib)
	do(t, g, hand.Zero, 20, 24) // as a rule not copied yet
	for _, d := range g.Disks[1:] {
		if !within(jobTime, func() bool { return taken(t, g, to, d) >= 20*mib-mib/2 }) {
			t.Fatalf("disk %s takes %d bytes on the target: it is not copied", d.Name, taken(t, g, to, d))
		}
	}
	do(t, g, hand.Zero, 0, 4) // copied
	do(t, g, hand.Punch, 4, 8)
	do(t, g, hand.Discard, 8, 12)
	sameRaw(t, g, from, to)
	stillHydrating(t, j)
	atRate(t, g, 0)
	succeeds(t, j)
	for _, d := range g.Disks[1:] {
		reads(t, g, d, 0, 8, func(int64) bool { return true })
		reads(t, g, d, 12, 64, func(at int64) bool { return at >= 20*mib })
	}
	takesAtMost(t, g, to, 24)
	do(t, g, hand.Discard, 0, 24)
	takesAtMost(t, g, to, 0)
	nothingLost(t, g)
}

// takesAtMost waits until the further disks take no more room on a host, in MiB,
// than that and half a MiB for tables.
func takesAtMost(t *testing.T, g *scene.Guest, host string, most int64) {
	t.Helper()
	for _, d := range g.Disks[1:] {
		if !eventually(func() bool { return taken(t, g, host, d) <= most*mib+mib/2 }) {
			t.Errorf("disk %s takes %d KiB on host %s, want %d MiB at most", d.Name, taken(t, g, host, d)>>10, host, most)
		}
	}
}

// sameRaw compares both copies of the raw disk, which the guest leaves alone.
func sameRaw(t *testing.T, g *scene.Guest, from, to string) {
	t.Helper()
	d := g.Disks[1]
	a, err := os.ReadFile(file(g, from, d))
	check(t, err)
	b, err := os.ReadFile(file(g, to, d))
	check(t, err)
	if !bytes.Equal(a, b) {
		t.Errorf("the copies of disk %s differ", d.Name)
	}
}
