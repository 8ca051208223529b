package machine

import (
	"context"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/place"
)

// cpu is the CPU of a new machine: the one that was asked for, or else what all
// hosts give that it may ever move to. It is written down, so that it stays the
// same over restarts and whatever hosts join later.
func (c *Controller) cpu(ctx context.Context, m *droveway.Machine) (droveway.CPU, error) {
	if m.Spec.CPU != "" && m.Spec.CPU != droveway.CPUBaseline {
		return m.Spec.CPU, nil
	}
	hosts, err := c.cfg.Fleet.Hosts.List(ctx)
	if err != nil {
		return "", err
	}
	return place.Baseline(hosts, place.Need{Requires: slices.Concat(m.Spec.Requires, firmwareRequires(m)), Host: m.Spec.Host}), nil
}
