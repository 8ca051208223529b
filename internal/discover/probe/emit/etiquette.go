package emit

import (
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/pattern"
)

// What no server can make a probe do, whatever it asks for.
const (
	maxOpens    = 16                     // of one pattern
	maxHold     = pattern.HoldMax        // of one connection
	minGap      = 250 * time.Millisecond // between two opens to one destination
	maxDuration = time.Minute            // of one pattern
	maxAhead    = time.Hour              // that one may be planned
	maxPatterns = 64                     // at once
)

// Denied are the ports that are never opened: where an idle connection counts
// against the caller (SSH, mail, MySQL, Oracle, SQL Server) or is work (raw
// printing).
func Denied() []uint16 { return []uint16{22, 25, 465, 587, 1433, 1521, 3306, 9100} }

// Target is what somebody opted out: addresses, and one port or, with 0, all.
type Target struct {
	Addresses netip.Prefix `json:"addresses"`
	Port      uint16       `json:"port,omitempty"`
}

// Covers reports whether a destination is in the target.
func (t Target) Covers(d netip.AddrPort) bool {
	return t.Addresses.Contains(d.Addr().Unmap().WithZone("")) && (t.Port == 0 || t.Port == d.Port())
}

// refuse says why an assignment is not carried out.
func (e *Emitter) refuse(a discover.Assignment, now time.Time) error {
	switch {
	case !e.config.Allow:
		return droveway.Errorf(droveway.Permission, "patterns are switched off on this host: switch them on in the probe's configuration")
	case !a.Destination.IsValid() || a.Destination.Port() == 0 || a.Destination.Addr().IsUnspecified() || a.Destination.Addr().IsMulticast():
		return droveway.Errorf(droveway.Invalid, "pattern %q: %s is no destination", a.Pattern, a.Destination)
	case slices.Contains(Denied(), a.Destination.Port()):
		return droveway.Errorf(droveway.Permission, "pattern %q: port %d is never opened for patterns", a.Pattern, a.Destination.Port())
	case slices.ContainsFunc(e.config.OptOut, func(t Target) bool { return t.Covers(a.Destination) }):
		return droveway.Errorf(droveway.Permission, "pattern %q: %s is opted out on this host", a.Pattern, a.Destination)
	case !e.config.Contacted(a.Destination):
		return droveway.Errorf(droveway.Permission, "pattern %q: this host has not been seen to talk to %s", a.Pattern, a.Destination)
	case a.PID <= 0:
		return droveway.Errorf(droveway.Invalid, "pattern %q names no process", a.Pattern)
	}
	return refuseShape(a, now)
}

func refuseShape(a discover.Assignment, now time.Time) error {
	invalid := func(why string) error {
		return droveway.Errorf(droveway.Invalid, "pattern %q: %s", a.Pattern, why)
	}
	switch n := len(a.Delays); {
	case a.Pattern == "" || len(a.Pattern) > 128:
		return invalid("its name is missing or too long")
	case n == 0 || n > maxOpens || len(a.Holds) != n:
		return invalid("it needs between 1 and 16 delays, and as many holds")
	case a.Delays[n-1] > maxDuration:
		return invalid("it takes more than a minute")
	case slices.ContainsFunc(a.Holds, func(h time.Duration) bool { return h < 0 || h > maxHold }):
		return invalid("a connection stays open longer than 340 ms or a negative time")
	case a.Start.Sub(now) > maxAhead:
		return invalid("it starts more than an hour from now")
	case !a.Expires.After(now):
		return invalid("it has expired")
	}
	before := -minGap
	for _, d := range a.Delays {
		if d-before < minGap {
			return invalid("two connections open within 250 ms")
		}
		before = d
	}
	return nil
}
