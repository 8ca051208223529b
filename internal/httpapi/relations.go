package httpapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/discover/service"
)

// Relations knows who talks to whom.
type Relations interface {
	List(f graph.Filter) []graph.Edge
	Export(w io.Writer, format graph.Format, f graph.Filter) error
	Neighbourhood(host string, steps int) ([]graph.Edge, error)
	Explain(a, b string) (graph.Explanation, error)
	Applications() []graph.Application
	SetGroup(ctx context.Context, g service.Group) error
	Waves(ctx context.Context, l service.WaveLimits) ([]graph.Wave, error)
	Blast(host string) ([]graph.Impact, error)
	Policy(ctx context.Context) (service.Policy, error)
	SetPolicy(ctx context.Context, p service.Policy) (service.Policy, error)
	Plan(now time.Time) []service.Planned
	Probes(ctx context.Context) ([]service.Probe, error)
	RemoveProbe(ctx context.Context, name string) error
}

// RelationFilter chooses relations.
type RelationFilter struct {
	Host     string `query:"host" maxLength:"63" doc:"At either end"`
	Service  string `query:"service" maxLength:"255" doc:"Short name, at either end"`
	State    string `query:"state" enum:"active,stale,removed" doc:"Removed: the last of them since the server started"`
	Evidence string `query:"evidence" enum:"isn,pattern,conntrack,timing,one-sided" doc:"The best evidence is at least as good"`
	Internal bool   `query:"internal" doc:"Only those with a probe at both ends"`
}

func (f RelationFilter) filter() graph.Filter {
	return graph.Filter{
		Host: f.Host, Service: f.Service, State: graph.State(f.State),
		Worst: discover.Evidence(f.Evidence), Internal: f.Internal,
	}
}

// RelationExport is the input of export-relations.
type RelationExport struct {
	RelationFilter
	Format string `path:"format" enum:"csv,json,dot,mermaid"`
}

// text is an answer that is no JSON.
type text struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// HostSteps is the input of show-neighbourhood.
type HostSteps struct {
	Named
	Steps int `query:"steps" minimum:"1" maximum:"10" default:"1" doc:"How far from the host"`
}

// HostPair is the input of explain-relation.
type HostPair struct {
	A string `path:"a" maxLength:"63" doc:"A host"`
	B string `path:"b" maxLength:"63" doc:"Another host"`
}

func (a *API) relationRoutes() {
	route(a, admins, op("list-relations", http.MethodGet, "/v1/relations", "List who talks to whom"), func(_ context.Context, in *RelationFilter) (*reply[client.List[graph.Edge]], error) {
		return answerList(a.cfg.Relations.List(in.filter()), nil)
	})
	route(a, admins, op("export-relations", http.MethodGet, "/v1/relations/export/{format}", "Write who talks to whom in another format"), a.exportRelations)
	route(a, admins, op("show-neighbourhood", http.MethodGet, "/v1/relations/hosts/{name}", "List what a host talks to, and who talks to it"), func(_ context.Context, in *HostSteps) (*reply[client.List[graph.Edge]], error) {
		return answerList(a.cfg.Relations.Neighbourhood(in.Name, in.Steps))
	})
	route(a, admins, op("explain-relation", http.MethodGet, "/v1/relations/explain/{a}/{b}", "Tell what is known between two hosts"), func(_ context.Context, in *HostPair) (*reply[graph.Explanation], error) {
		return answer(a.cfg.Relations.Explain(in.A, in.B))
	})
	route(a, admins, op("get-relation-policy", http.MethodGet, "/v1/relations/policy", "Show where patterns may be emitted"), func(ctx context.Context, _ *Nothing) (*reply[service.Policy], error) {
		return answer(a.cfg.Relations.Policy(ctx))
	})
	route(a, admins, op("put-relation-policy", http.MethodPut, "/v1/relations/policy", "Say where patterns may be emitted"), a.setPolicy)
	route(a, admins, op("plan-patterns", http.MethodGet, "/v1/relations/plan", "Tell what patterns would be emitted; emits none"), func(context.Context, *Nothing) (*reply[client.List[service.Planned]], error) {
		return answerList(a.cfg.Relations.Plan(time.Now()), nil)
	})
}

func (a *API) exportRelations(_ context.Context, in *RelationExport) (*text, error) {
	var b bytes.Buffer
	err := a.cfg.Relations.Export(&b, graph.Format(in.Format), in.filter())
	kind := "text/plain; charset=utf-8"
	switch graph.Format(in.Format) {
	case graph.CSV:
		kind = "text/csv; charset=utf-8"
	case graph.JSON:
		kind = "application/json"
	}
	return &text{kind, b.Bytes()}, err
}

// NewPolicy is the input of put-relation-policy.
type NewPolicy struct{ Body service.Policy }

func (a *API) setPolicy(ctx context.Context, in *NewPolicy) (*reply[service.Policy], error) {
	p, err := a.cfg.Relations.SetPolicy(ctx, in.Body)
	if err == nil {
		a.publish(ctx, "relation.policy", "relation/policy")
	}
	return answer(p, err)
}
