package client

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/droveway/droveway"
)

// Relation says that a service of one host talks to one of another.
type Relation struct {
	ID         string             `json:"id"`
	Client     Party              `json:"client"`
	Server     Party              `json:"server"`
	Protocol   string             `json:"protocol"`
	Port       uint16             `json:"port"`
	State      string             `json:"state"`
	Confidence float64            `json:"confidence"`
	First      time.Time          `json:"first"`
	Last       time.Time          `json:"last"`
	Count      int                `json:"count"`
	Paths      []RelationPath     `json:"paths,omitempty"`
	Evidence   []RelationEvidence `json:"evidence"`
	ClientPIDs []int              `json:"client_pids,omitempty"`
	ServerPIDs []int              `json:"server_pids,omitempty"`
}

// Party is an end of a relation: a service of a host, or an address without a
// probe.
type Party struct {
	Host     string     `json:"host,omitempty"`
	Service  Service    `json:"service,omitzero"`
	External netip.Addr `json:"external,omitzero"`
	Site     string     `json:"site,omitempty"`
}

// Service is what a process is for.
type Service struct {
	Unit       string `json:"unit,omitempty"`
	Container  string `json:"container,omitempty"`
	Executable string `json:"executable,omitempty"`
}

// RelationPath is one way through translators that a relation takes.
type RelationPath struct {
	Dialled netip.AddrPort `json:"dialled,omitzero"`
	Served  netip.AddrPort `json:"served,omitzero"`
	Source  netip.Addr     `json:"source,omitzero"`
	Seen    netip.Addr     `json:"seen,omitzero"`
	Hops    []string       `json:"hops,omitempty"`
	Last    time.Time      `json:"last"`
}

// RelationEvidence is why a relation is believed, the best first.
type RelationEvidence struct {
	Kind  string    `json:"kind"`
	Count int       `json:"count"`
	Score float64   `json:"score"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// RelationFilter chooses relations; a zero field chooses all.
type RelationFilter struct {
	Host     string
	Service  string
	State    string // active, stale or removed
	Evidence string // the worst that is good enough
	Internal bool   // only those with a probe at both ends
}

func (f RelationFilter) query() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"host": f.Host, "service": f.Service, "state": f.State, "evidence": f.Evidence} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.Internal {
		q.Set("internal", "true")
	}
	return q
}

// Explanation says what is known between two hosts.
type Explanation struct {
	Edges  []Relation `json:"edges"`
	Absent bool       `json:"absent"` // there is none
	Exact  bool       `json:"exact"`  // and there was no traffic, since both were watched
	Since  time.Time  `json:"since,omitzero"`
	Until  time.Time  `json:"until,omitzero"`
	Why    string     `json:"why"`
}

// Application is hosts that belong together.
type Application struct {
	Name   string   `json:"name"`
	Hosts  []string `json:"hosts"`
	User   bool     `json:"user"` // made by a user, not found
	Shared []string `json:"shared,omitempty"`
}

// ApplicationRequest says which hosts belong together.
type ApplicationRequest struct {
	Hosts []string `json:"hosts" maxItems:"10000"`
}

// HostRelation is all relations from one host to another.
type HostRelation struct {
	Client string `json:"client"`
	Server string `json:"server"`
	Edges  int    `json:"edges"`
	Best   string `json:"best"`
}

// Wave is hosts that move at the same time.
type Wave struct {
	Hosts        []string       `json:"hosts"`
	Applications []string       `json:"applications"`
	Size         int64          `json:"size"`              // bytes on their disks
	Seconds      int64          `json:"seconds,omitempty"` // to copy them; 0: not known
	Reach        int            `json:"reach"`             // other hosts that depend on them
	Crossing     []HostRelation `json:"crossing"`
	Early        []HostRelation `json:"early,omitempty"`
}

// Impact is a host that a failure reaches.
type Impact struct {
	Host  string `json:"host"`
	Steps int    `json:"steps"`
	Via   string `json:"via"`
}

// RelationPolicy says where patterns may be emitted.
type RelationPolicy struct {
	Sites     []string `json:"sites"`
	OptOut    []OptOut `json:"opt_out"`
	DenyPorts []uint16 `json:"deny_ports"`
	Revision  uint64   `json:"revision,omitempty"` // of the policy that is changed; 0: whatever it is
}

// OptOut is addresses that opted out: at one port, or with port 0 at all.
type OptOut struct {
	Addresses netip.Prefix `json:"addresses"`
	Port      uint16       `json:"port,omitempty"`
}

// PlannedPattern is what patterns would do about a destination of a host.
type PlannedPattern struct {
	Host        string  `json:"host"`
	Site        string  `json:"site"`
	Service     Service `json:"service"`
	Destination string  `json:"destination"`
	State       string  `json:"state"`
	Opens       int     `json:"opens"` // connections still to come
	Refused     string  `json:"refused,omitempty"`
}

// Probe is a probe and how well it watches.
type Probe struct {
	Name    string    `json:"name"`
	Site    string    `json:"site"`
	Created time.Time `json:"created"`
	Source  string    `json:"source"`
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"`
	Missing uint64    `json:"missing"`              // reports that never came
	Lost    uint64    `json:"lost"`                 // events
	Disk    int64     `json:"disk_bytes,omitempty"` // that its disks hold; 0: not known
}

// Relations lists who talks to whom.
func (c *Client) Relations(ctx context.Context, f RelationFilter) ([]Relation, error) {
	var out List[Relation]
	err := c.run(ctx, call{method: http.MethodGet, path: []string{"v1", "relations"}, query: f.query()}, &out)
	return out.Items, err
}

// ExportRelations writes who talks to whom as csv, json, dot or mermaid.
func (c *Client) ExportRelations(ctx context.Context, format string, f RelationFilter, w io.Writer) error {
	resp, err := c.send(ctx, call{method: http.MethodGet, path: []string{"v1", "relations", "export", format}, query: f.query()}, nil, -1)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if _, err := io.Copy(w, resp.Body); err != nil {
		return droveway.Errorf(droveway.Unavailable, "read the relations: %w", err)
	}
	return nil
}

// Neighbourhood lists the relations of a host and of those around it.
func (c *Client) Neighbourhood(ctx context.Context, host string, steps int) ([]Relation, error) {
	var out List[Relation]
	err := c.run(ctx, call{method: http.MethodGet, path: []string{"v1", "relations", "hosts", host}, query: url.Values{"steps": {strconv.Itoa(steps)}}}, &out)
	return out.Items, err
}

// ExplainRelation tells what is known between two hosts.
func (c *Client) ExplainRelation(ctx context.Context, a, b string) (Explanation, error) {
	return get[Explanation](ctx, c, "v1", "relations", "explain", a, b)
}

// Applications lists the groups of hosts that belong together.
func (c *Client) Applications(ctx context.Context) ([]Application, error) {
	return list[Application](ctx, c, "v1", "applications")
}

// SetApplication says which hosts belong together; none: forget the group.
func (c *Client) SetApplication(ctx context.Context, name string, hosts []string) error {
	if hosts == nil {
		hosts = []string{}
	}
	return c.run(ctx, call{method: http.MethodPut, path: []string{"v1", "applications", name}, in: ApplicationRequest{hosts}}, nil)
}

// WaveLimits bound a wave. 0: no limit.
type WaveLimits struct {
	Hosts  int
	Bytes  int64         // on the disks of its hosts
	Window time.Duration // in which they have to be copied
	Rate   int64         // bytes a second that are copied; 0: as measured in past moves
}

func (l WaveLimits) query() url.Values {
	return url.Values{
		"hosts": {strconv.Itoa(l.Hosts)}, "bytes": {strconv.FormatInt(l.Bytes, 10)},
		"window": {strconv.FormatInt(int64(l.Window/time.Second), 10)}, "rate": {strconv.FormatInt(l.Rate, 10)},
	}
}

// Waves plans the moves of all applications.
func (c *Client) Waves(ctx context.Context, l WaveLimits) ([]Wave, error) {
	var out List[Wave]
	err := c.run(ctx, call{method: http.MethodGet, path: []string{"v1", "relations", "waves"}, query: l.query()}, &out)
	return out.Items, err
}

// Blast lists who depends on a host.
func (c *Client) Blast(ctx context.Context, host string) ([]Impact, error) {
	return list[Impact](ctx, c, "v1", "relations", "blast", host)
}

// RelationPolicy gives the policy of patterns.
func (c *Client) RelationPolicy(ctx context.Context) (RelationPolicy, error) {
	return get[RelationPolicy](ctx, c, "v1", "relations", "policy")
}

// SetRelationPolicy replaces it.
func (c *Client) SetRelationPolicy(ctx context.Context, p RelationPolicy) (RelationPolicy, error) {
	var out RelationPolicy
	err := c.run(ctx, call{method: http.MethodPut, path: []string{"v1", "relations", "policy"}, in: p}, &out)
	return out, err
}

// PlanPatterns tells what patterns would be emitted.
func (c *Client) PlanPatterns(ctx context.Context) ([]PlannedPattern, error) {
	return list[PlannedPattern](ctx, c, "v1", "relations", "plan")
}

// Probes lists the probes, by name.
func (c *Client) Probes(ctx context.Context) ([]Probe, error) {
	return list[Probe](ctx, c, "v1", "probes")
}

// RemoveProbe takes a probe out of the fleet.
func (c *Client) RemoveProbe(ctx context.Context, name string) error {
	return c.run(ctx, call{method: http.MethodDelete, path: []string{"v1", "probes", name}}, nil)
}
