package service

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/allot"
)

// Policy says where patterns may be emitted: nowhere, until a site opts in.
type Policy struct {
	Sites     []string `json:"sites" doc:"Sites that opted in: only their probes emit patterns"`
	OptOut    []OptOut `json:"opt_out" doc:"Targets that no pattern may reach"`
	DenyPorts []uint16 `json:"deny_ports" doc:"Ports that are denied besides those that always are"`
	// Revision keeps two who change the policy at once from undoing what the other
	// forbade.
	Revision uint64 `json:"revision,omitempty" doc:"Of the policy that was changed: another is refused; 0: whatever it is"`
}

// OptOut is addresses that opted out: at one port, or with port 0 at all.
type OptOut struct {
	Addresses netip.Prefix `json:"addresses" doc:"As 192.0.2.0/24"`
	Port      uint16       `json:"port,omitempty"`
}

// policyName is the name of the one policy.
const policyName = "fleet"

func (p Policy) allotted() allot.Policy {
	a := allot.Policy{Sites: p.Sites, DenyPorts: p.DenyPorts}
	for _, o := range p.OptOut {
		a.OptOut = append(a.OptOut, allot.Target{Prefix: o.Addresses, Port: o.Port})
	}
	return a
}

// Policy gives the policy; if none was set, one that allows nothing.
func (s *Service) Policy(ctx context.Context) (Policy, error) {
	p, rev, err := s.policies.Get(ctx, policyName)
	if droveway.Is(err, droveway.NotFound) {
		return Policy{Sites: []string{}, OptOut: []OptOut{}, DenyPorts: []uint16{}}, nil
	}
	p.Revision = rev
	return p, err
}

// SetPolicy changes the policy, at once and for good. One that makes no sense is
// Invalid, one that another has changed meanwhile is Conflict.
func (s *Service) SetPolicy(ctx context.Context, p Policy) (Policy, error) {
	s.policing.Lock() // what is stored last is what counts
	defer s.policing.Unlock()
	for _, site := range p.Sites {
		if err := droveway.ValidName("site", site); err != nil {
			return p, err
		}
	}
	p.Sites, p.OptOut, p.DenyPorts = filled(p.Sites), filled(p.OptOut), filled(p.DenyPorts)
	if err := p.valid(); err != nil {
		return p, err
	}
	_, rev, err := s.policies.Get(ctx, policyName)
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return p, err
	}
	if p.Revision != 0 && p.Revision != rev {
		return p, droveway.Errorf(droveway.Conflict, "the policy of patterns was changed by somebody else meanwhile: look at it, and change it again")
	}
	p.Revision = 0
	if p.Revision, err = s.policies.Put(ctx, policyName, p, rev); err != nil {
		return p, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Info("policy of patterns changed", "sites", p.Sites, "opt_out", len(p.OptOut), "deny_ports", p.DenyPorts)
	return p, s.usePolicy(p, time.Now())
}

// valid refuses what the allotter would refuse.
func (p Policy) valid() error {
	_, err := allot.New(p.allotted(), nil)
	return err
}

func filled[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return slices.Clone(s)
}

func (s *Service) usePolicy(p Policy, now time.Time) error {
	cancels, err := s.allotter.SetPolicy(p.allotted(), now)
	if err != nil {
		return err
	}
	s.cancels = append(s.cancels, cancels...)
	return nil
}
