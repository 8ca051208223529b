package machine

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/fleet"
)

// reportName is the name under which a host reports on itself.
const reportName = "host"

// diskNoise is how much free room may come and go before it is worth a write.
const diskNoise = 64 // MiB

// reconcileHost writes down what a host reports and whether it lives.
func (c *Controller) reconcileHost(ctx context.Context, name string) (again time.Duration, err error) {
	h, rev, err := c.cfg.Fleet.Hosts.Get(ctx, name)
	if droveway.Is(err, droveway.NotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	report, _, err := fleet.HostReport(c.cfg.Fleet.Stores, name).Get(ctx, reportName)
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return 0, err
	}
	now := time.Now().UTC()
	alive, grace := c.seen.lives(name, now)
	if !alive && grace > 0 {
		return grace, nil
	}
	next := mergeHost(h.Status, report, err == nil, alive, now)
	if sameHost(h.Status, next) {
		return 0, nil
	}
	h.Status = next
	_, err = c.cfg.Fleet.Hosts.Put(ctx, name, h, rev)
	if droveway.Is(err, droveway.Conflict) {
		return 0, nil // whoever changed it made the watch tell
	}
	return 0, err
}

// mergeHost is the status of a host after what it reports and whether its lease
// lasts. The host is ready once it has done both.
func mergeHost(was, report droveway.HostStatus, reported, alive bool, now time.Time) droveway.HostStatus {
	next := was
	if reported {
		next = report
		next.State, next.Since = was.State, was.Since
		if next.Address == "" {
			next.Address = was.Address
		}
	}
	switch {
	case alive && reported:
		next.State = droveway.HostReady
	case !alive && was.State == droveway.HostReady:
		next.State = droveway.HostUnknown
	}
	if next.State != was.State {
		next.Since = now
	}
	return next
}

// sameHost reports whether a status says nothing new.
func sameHost(a, b droveway.HostStatus) bool {
	d := a.DiskFreeMiB - b.DiskFreeMiB
	return a.State == b.State && a.Address == b.Address && a.CPUs == b.CPUs && a.MemoryMiB == b.MemoryMiB &&
		a.Version == b.Version && -diskNoise < d && d < diskNoise && maps.Equal(a.Capabilities, b.Capabilities) &&
		a.Started.Equal(b.Started) && slices.Equal(a.Held, b.Held)
}
