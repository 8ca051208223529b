// Package hypervisortest is the suite that every hypervisor driver passes.
//
// It proves the contract from outside: by the bytes of the disks, by what the
// guests print, by the processes that are there. Its guests count, see Guest.
package hypervisortest

import (
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Env is what the suite needs of a driver's test.
type Env struct {
	// New makes the driver as another process on the same host would. Guests
	// do not end with it.
	New func(t *testing.T) hypervisor.Driver
	// Format is that of all disks. Create makes one with content, and Content
	// reads one that may be in use.
	Format  droveway.Format
	Create  func(t *testing.T, path string, content []byte)
	Content func(t *testing.T, path string) []byte
	// Guest puts the guest onto the content of its first disk, for a machine
	// with that many disks.
	Guest func(content []byte, disks int)
	// Extra makes guests count, if Guest does not. Refused is an argument that
	// the driver must refuse.
	Extra, Refused []string
	// Abandon starts an instance in a process that is killed right after.
	Abandon func(t *testing.T, spec hypervisor.Spec) hypervisor.Handle
	// Kill ends an instance or a secondary at once, from outside.
	Kill  func(t *testing.T, v any)
	reads hypervisor.Reads // where guests read from while they hydrate

	// TLS gives the credentials of a host of an authority. Nil: the driver
	// knows no TLS.
	TLS func(t *testing.T, authority, host string) *hypervisor.TLS
}

// Run runs the suite. What concerns hydration is run with either kind of reads.
func Run(t *testing.T, e Env) {
	each(t, e, tests)
	each(t, e, hydrationTests)
	t.Run("reads local", func(t *testing.T) {
		t.Parallel()
		e.reads = hypervisor.ReadLocal
		each(t, e, hydrationTests)
	})
}

func each(t *testing.T, e Env, tests map[string]func(*testing.T, Env)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

var tests = map[string]func(*testing.T, Env){
	"probe":                              probe,
	"start and stop":                     startAndStop,
	"start, repeated":                    startAgain,
	"power down":                         powerDown,
	"pause and resume":                   pauseAndResume,
	"change is told":                     changeIsTold,
	"adopt after a kill":                 adopt,
	"sweep":                              sweep,
	"stale handle":                       staleHandle,
	"failed start leaves nothing":        failedStart,
	"one disk, one instance":             diskIsLocked,
	"boot from local disks":              bootLocal,
	"cancel before the handover":         cancelMove,
	"no way back after the handover":     noWayBack,
	"send to nobody":                     sendToNobody,
	"target killed before the handover":  targetKilledBefore,
	"disks grow under the guest":         disksGrow,
	"no growth while it moves":           noGrowthInAMove,
	"wrong certificate sends no memory":  wrongSender,
	"wrong certificate serves no disks":  wrongServer,
	"wrong certificate gets no disks":    wrongReader,
	"another host of the fleet is no go": wrongPeer,
}

var hydrationTests = map[string]func(*testing.T, Env){
	"move":                              wholeMove,
	"interrupted at every point":        interrupted,
	"boot over an origin":               bootOverOrigin,
	"go back while it hydrates":         goBack,
	"memory follows":                    memoryFollows,
	"memory on several connections":     memoryInParallel,
	"disks found different":             foundDifferent,
	"secondary killed":                  secondaryKilled,
	"target killed while it hydrates":   targetKilled,
	"revoked export is a fence":         revokeFences,
	"revoked export is one to the end":  revokeFencesToTheEnd,
	"long outage stops the guest, once": longOutage,
	"copy rate":                         copyRate,
}
