package origin

import (
	"context"
	"slices"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/repair"
)

// preflight refuses a system that does not start here as it is: nobody can repair a
// disk that is not here. It reads a few megabytes. A system that is not known is let
// through, with a note.
func (x *origin) preflight(ctx context.Context, disk *format.Image) error {
	known, err := identify.Default()
	if err != nil {
		return err
	}
	var plan *repair.Plan
	report, err := inspect.Disk(ctx, disk, inspect.Options{Catalog: known, Then: func(r *inspect.Report, t *filesystem.Tree) (err error) {
		plan, err = repair.Make(r, t)
		return err
	}})
	if droveway.Is(err, droveway.Unavailable) {
		return err
	}
	if err != nil {
		x.Origin.Notes = append(x.Origin.Notes, "what it holds cannot be told: "+err.Error())
		return nil
	}
	x.Origin.System = report.OS.Name
	if report.OS.Status != identify.Identified {
		x.Origin.Notes = append(x.Origin.Notes, "the system on it is not known: whether it starts here will be seen")
	}
	needed := obstacles(plan)
	if len(needed) == 0 {
		return nil
	}
	return droveway.Errorf(droveway.Conflict, "it does not start here as it is, and what is not here cannot be repaired: %s: repair it where it is, or import it whole (image inspect --preflight shows more)", strings.Join(needed, "; "))
}

// obstacles are what keeps a system from starting here.
func obstacles(p *repair.Plan) []string {
	var all []string
	for _, f := range p.Findings {
		if f.Level == repair.Blocker {
			all = append(all, f.What+" ("+f.Why+")")
		}
	}
	for i := range p.Steps {
		if vital(&p.Steps[i]) {
			all = append(all, p.Steps[i].What)
		}
	}
	return all
}

// vital reports whether a system does not start without a change.
func vital(s *repair.Step) bool {
	switch s.Name {
	case "initramfs", "driver", "fstab", "crypttab":
		return true
	case "loader": // it may be for the console alone
		return slices.ContainsFunc(s.Files, func(f repair.File) bool {
			return slices.ContainsFunc([]string{"root=/dev/sd", "root=/dev/hd", "root=/dev/xvd"}, func(root string) bool { return strings.Contains(f.Old, root) })
		})
	}
	return false
}
