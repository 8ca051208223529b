package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/service"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

// A probe gets access to the bus, and neither a certificate, with which it could
// pass for a host, nor a token of the API.
func TestProbeJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	token, err := w.admin.CreateToken(ctx, client.TokenRequest{Role: "probe"})
	must(t, err)
	r := joinRequest(t, token.Token, "a")
	stranger := w.client(t, "")
	_, err = stranger.Join(ctx, r)
	wantKind(t, err, droveway.Permission) // as a host
	r.Role, r.Site = "probe", "Not a site"
	_, err = stranger.Join(ctx, r)
	wantKind(t, err, droveway.Invalid)
	r.Site = "west"
	got, err := stranger.Join(ctx, r)
	must(t, err)
	if got.JWT == "" || got.BusURL == "" || got.CA == "" || got.Cert != "" || got.APIToken != "" {
		t.Errorf("the probe got %+v", got)
	}
	p, _, err := w.fleet.Probes.Get(ctx, "a")
	must(t, err)
	if p.Site != "west" {
		t.Errorf("the probe is %+v", p)
	}
	_, err = stranger.Join(ctx, r)
	wantKind(t, err, droveway.Permission) // spent
	r.Token = w.newToken(t, fleet.Token{Role: httpapi.RoleProbe})
	_, err = stranger.Join(ctx, r)
	wantKind(t, err, droveway.Exists)
	r.Token = w.newToken(t, fleet.Token{Role: httpapi.RoleHost})
	_, err = stranger.Join(ctx, r)
	wantKind(t, err, droveway.Permission)
}

// The API reaches all there is about relations.
func TestRelations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	must(t, w.fleet.Probes.Create(ctx, "a", fleet.Probe{Meta: droveway.Meta{Name: "a"}, Site: "west"}))
	probes, err := w.admin.Probes(ctx)
	must(t, err)
	if len(probes) != 1 || probes[0].Name != "a" || probes[0].Site != "west" {
		t.Errorf("probes: %+v", probes)
	}
	all, err := w.admin.Relations(ctx, client.RelationFilter{Host: "a", State: "active", Evidence: "isn", Internal: true})
	if err != nil || len(all) != 0 {
		t.Errorf("relations: %v, %v", all, err)
	}
	for format, has := range map[string]string{"csv": "client_service", "json": "[]", "dot": "digraph", "mermaid": "flowchart"} {
		var b strings.Builder
		must(t, w.admin.ExportRelations(ctx, format, client.RelationFilter{}, &b))
		if !strings.Contains(b.String(), has) {
			t.Errorf("%s: %q", format, b.String())
		}
	}
	if status, body := w.do(t, http.MethodGet, "/v1/relations/export/png", ""); status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
		t.Errorf("an unknown format: %d %s", status, body)
	}
	_, err = w.admin.ExplainRelation(ctx, "a", "nobody")
	wantKind(t, err, droveway.NotFound)
	_, err = w.admin.Blast(ctx, "nobody")
	wantKind(t, err, droveway.NotFound)
	_, err = w.admin.Neighbourhood(ctx, "nobody", 1)
	wantKind(t, err, droveway.NotFound)
	must(t, w.admin.SetApplication(ctx, "shop", []string{"a"}))
	apps, err := w.admin.Applications(ctx)
	if err != nil || len(apps) != 1 || !apps[0].User {
		t.Errorf("applications: %+v, %v", apps, err)
	}
	waves, err := w.admin.Waves(ctx, client.WaveLimits{Hosts: 5})
	if err != nil || len(waves) != 1 {
		t.Errorf("waves: %+v, %v", waves, err)
	}
	p, err := w.admin.SetRelationPolicy(ctx, client.RelationPolicy{Sites: []string{"west"}, OptOut: []client.OptOut{}, DenyPorts: []uint16{8443}})
	if err != nil || len(p.Sites) != 1 || p.DenyPorts[0] != 8443 {
		t.Errorf("policy: %+v, %v", p, err)
	}
	if plan, err := w.admin.PlanPatterns(ctx); err != nil || len(plan) != 0 {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	must(t, w.admin.RemoveProbe(ctx, "a"))
	wantKind(t, w.admin.RemoveProbe(ctx, "a"), droveway.NotFound)
}

// relations makes the service that the API asks. It does not run.
func (w *world) relations(t testing.TB) *service.Service {
	t.Helper()
	s, err := service.New(service.Config{Conn: w.conn, Fleet: w.fleet, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return s
}
