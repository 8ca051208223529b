package origin

import (
	"context"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/preflight"
	"github.com/droveway/droveway/internal/image/repair"
)

// preflight refuses a system that does not start here as it is: nobody can repair a
// disk that is not here. It reads a few megabytes. A system that is not known is let
// through, with a note.
func (x *origin) preflight(ctx context.Context, disk *format.Image) error {
	r, err := preflight.Disk(ctx, disk, preflight.Wishes{})
	if droveway.Is(err, droveway.Unavailable) {
		return err
	}
	if err != nil {
		x.Origin.Notes = append(x.Origin.Notes, "what it holds cannot be told: "+err.Error())
		return nil
	}
	x.Origin.System, x.Origin.Firmware = r.Report.OS.Name, preflight.Firmware(r.System())
	if r.Report.OS.Status != identify.Identified {
		x.Origin.Notes = append(x.Origin.Notes, "the system on it is not known: whether it starts here will be seen")
	}
	needed := obstacles(r.Plan)
	if len(needed) == 0 {
		return nil
	}
	return droveway.Errorf(droveway.Conflict, "it does not start here as it is, and what is not here cannot be repaired: %s: repair it where it is, or import it whole, without --switch-first, which repairs what it can", strings.Join(needed, "; "))
}

// obstacles are what keeps a system from starting here.
func obstacles(p *repair.Plan) []string {
	var all []string
	for _, f := range p.Findings {
		if f.Level == repair.Blocker {
			all = append(all, f.What+" ("+f.Why+")")
		}
	}
	if !p.Needed() {
		return all
	}
	for i := range p.Steps {
		all = append(all, p.Steps[i].What)
	}
	return all
}
