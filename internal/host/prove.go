package host

import (
	"context"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/volume"
)

// sums hashes chunks of a disk, on either side of a move. Only the hashes
// travel.
func (a *Agent) sums(ctx context.Context, s Sums) ([]volume.Sum, error) {
	m := a.look(s.Machine)
	if err := m.trouble(); err != nil {
		return nil, err
	}
	rec := m.record()
	if rec.Role != RoleSecondary && rec.Role != RoleHydrating {
		return nil, droveway.Errorf(droveway.Conflict, "machine %s is %s on host %s: there is nothing to compare", s.Machine, rec.Role, a.cfg.Name)
	}
	for _, d := range rec.Instance.Disks {
		if d.Name == s.Disk {
			return a.pool.Prover(droveway.VolumeName(s.Machine, d.Name)).Sums(ctx, s.Chunks)
		}
	}
	return nil, droveway.Errorf(droveway.NotFound, "machine %s has no disk %s", s.Machine, s.Disk)
}
