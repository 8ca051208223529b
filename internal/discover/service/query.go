package service

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/graph"
)

// Group is hosts that a user said belong together.
type Group struct {
	Name  string   `json:"name"`
	Hosts []string `json:"hosts"`
}

// Probe is a probe and how well it watches.
type Probe struct {
	Name    string    `json:"name"`
	Site    string    `json:"site"`
	Created time.Time `json:"created"`
	discover.Coverage
}

// Planned is what patterns would do about a destination of a host.
type Planned struct {
	Host        string           `json:"host"`
	Site        string           `json:"site"`
	Service     discover.Service `json:"service"`
	Destination string           `json:"destination"`
	State       string           `json:"state"`
	Opens       int              `json:"opens"`
	Refused     string           `json:"refused,omitempty"`
}

func newEvent(kind, subject string, data any) (droveway.Event, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return droveway.Event{}, droveway.Errorf(droveway.Internal, "encode event %s: %w", kind, err)
	}
	return droveway.Event{Type: kind, Subject: subject, Source: "server", Data: b}, nil
}

// List gives the chosen relations.
func (s *Service) List(f graph.Filter) []graph.Edge {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.graph.List(f)
}

// Export writes the chosen relations.
func (s *Service) Export(w io.Writer, format graph.Format, f graph.Filter) error {
	return graph.Export(w, format, s.List(f))
}

// Neighbourhood gives the relations of a host and, with more steps, of those that
// it talks to.
func (s *Service) Neighbourhood(host string, steps int) ([]graph.Edge, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.graph.Neighbourhood(host, steps)
}

// Explain says what is known between two hosts.
func (s *Service) Explain(a, b string) (graph.Explanation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch()
	return s.graph.Explain(a, b)
}

// Applications gives the groups of hosts that belong together.
func (s *Service) Applications() []graph.Application { return s.snapshot().Applications() }

// snapshot is the graph as it is now, for what would hold reports up.
func (s *Service) snapshot() *graph.Graph {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.graph.Snapshot()
}

// SetGroup makes a group of hosts an application; without hosts there is none of
// that name any more.
func (s *Service) SetGroup(ctx context.Context, g Group) error {
	s.mu.Lock()
	before := s.graph.Groups()
	err := s.graph.SetGroup(g.Name, g.Hosts)
	after := s.graph.Groups()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	// A host that moved from one group to another changes both.
	for name := range before {
		if _, still := after[name]; still {
			continue
		}
		if err := s.groups.Delete(ctx, name); err != nil && !droveway.Is(err, droveway.NotFound) {
			return err
		}
	}
	for name, hosts := range after {
		if slices.Equal(before[name], hosts) {
			continue
		}
		_, rev, err := s.groups.Get(ctx, name)
		if err != nil && !droveway.Is(err, droveway.NotFound) {
			return err
		}
		if _, err := s.groups.Put(ctx, name, Group{name, hosts}, rev); err != nil {
			return err
		}
	}
	return nil
}

// Blast gives the hosts that a failure of a host reaches.
func (s *Service) Blast(host string) ([]graph.Impact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.graph.Blast(host)
}

// Plan says what patterns would be emitted, and emits none.
func (s *Service) Plan(now time.Time) []Planned {
	s.offer(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Planned{}
	for _, p := range s.allotter.Plan(now) {
		all = append(all, Planned{
			Host: p.Host, Site: p.Site, Service: p.Service, Destination: p.Destination.String(),
			State: string(p.State), Opens: p.Opens, Refused: p.Refused,
		})
	}
	return all
}

// Probes gives all probes, with what is known of them since the start.
func (s *Service) Probes(ctx context.Context) ([]Probe, error) {
	known, err := s.probes.List(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Probe
	for _, p := range known {
		c, _ := s.joiner.Coverage(p.Name)
		all = append(all, Probe{p.Name, p.Site, p.Created, c})
	}
	slices.SortFunc(all, func(a, b Probe) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// RemoveProbe takes a probe out of the fleet: its reports count no more.
func (s *Service) RemoveProbe(ctx context.Context, name string) error {
	if err := s.probes.Delete(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sites, name)
	return nil
}
