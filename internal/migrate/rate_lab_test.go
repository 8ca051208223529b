//go:build lab

package migrate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/scene"
)

// SYSTEMS 6.12: the copy of all disks together keeps to its rate, to a new one
// while it runs, and to that after a kill of the target's agent. Measured by what
// the target's files take.
func TestRateOfACopy(t *testing.T) {
	const low, high = 1 * mib, 6 * mib
	g := guest(t, scene.GuestConfig{Name: "rate", More: more[:1]})
	do(t, g, hand.Fill, 0, 24)
	j, _, to := hydrating(t, g, low)
	first := speed(t, g, to)
	atRate(t, g, high)
	told(t, g, to, high)
	second := speed(t, g, to)
	restart(t, to)
	third := speed(t, g, to)
	atRate(t, g, low)
	told(t, g, to, low)
	fourth := speed(t, g, to)
	stillHydrating(t, j)
	t.Logf("at %d KiB/s: %d; at %d: %d, after a kill of the agent %d; at %d again: %d", low>>10, first>>10, high>>10, second>>10, third>>10, low>>10, fourth>>10)
	for what, c := range map[string]struct{ got, bound int64 }{
		"at first": {first, low}, "raised": {second, high}, "after the kill": {third, high}, "lowered": {fourth, low},
	} {
		if most := c.bound + c.bound/2; c.got > most {
			t.Errorf("%s: %d bytes a second, the bound is %d", what, c.got, c.bound)
		}
	}
	if second < 2*first || fourth > second/2 {
		t.Errorf("the rate does not follow: %d, raised %d, lowered %d bytes a second", first, second, fourth)
	}
	atRate(t, g, 0)
	succeeds(t, j)
	nothingLost(t, g)
}

// speed is how fast the disks grow on a host, in bytes a second.
func speed(t *testing.T, g *scene.Guest, host string) int64 {
	t.Helper()
	const window = 4 * time.Second
	grown, begun := int64(0), time.Now()
	for _, d := range g.Disks {
		grown -= taken(t, g, host, d)
	}
	time.Sleep(window)
	for _, d := range g.Disks {
		grown += taken(t, g, host, d)
	}
	return int64(float64(grown) / time.Since(begun).Seconds())
}

// told waits until the host's record has a rate.
func told(t *testing.T, g *scene.Guest, host string, rate int64) {
	t.Helper()
	path := filepath.Join(stage.Lab.Dir(host), "machines", g.Name+".json")
	if !eventually(func() bool {
		b, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(b), fmt.Sprintf(`"rate":%d`, rate))
	}) {
		t.Fatalf("host %s has not been told the rate %d", host, rate)
	}
}
