package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

func TestOnlyBearersOfAGoodTokenGetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.newToken(t, fleet.Token{Role: httpapi.RoleAgent})
	for name, c := range map[string]struct {
		header, path string
		want         int
	}{
		"no token":           {"", "/v1/hosts", http.StatusUnauthorized},
		"another scheme":     {"Basic YTpi", "/v1/hosts", http.StatusUnauthorized},
		"unknown":            {"Bearer dw_X", "/v1/hosts", http.StatusUnauthorized},
		"its name":           {"Bearer " + httpapi.TokenName(w.token), "/v1/hosts", http.StatusUnauthorized},
		"expired":            {"Bearer " + w.newToken(t, fleet.Token{Role: httpapi.RoleAdmin, Expires: time.Now().Add(-time.Second)}), "/v1/hosts", http.StatusUnauthorized},
		"for joining":        {"Bearer " + w.newToken(t, fleet.Token{Role: httpapi.RoleHost}), "/v1/hosts", http.StatusForbidden},
		"agent, hosts":       {"Bearer " + agent, "/v1/hosts", http.StatusForbidden},
		"agent, an image":    {"Bearer " + agent, "/v1/images/x", http.StatusForbidden},
		"agent, its content": {"Bearer " + agent, "/v1/images/x/content", http.StatusNotFound},
		"admin":              {"Bearer " + w.token, "/v1/hosts", http.StatusOK},
		"metrics":            {"", "/metrics", http.StatusUnauthorized},
		"metrics, admin":     {"Bearer " + w.token, "/metrics", http.StatusOK},
		"health":             {"", "/healthz", http.StatusOK},
		"readiness":          {"", "/readyz", http.StatusOK},
		"description":        {"", "/openapi.json", http.StatusOK},
	} {
		status, body := w.do(t, http.MethodGet, c.path, "", "Authorization", c.header)
		if status != c.want {
			t.Errorf("%s: status %d, want %d: %s", name, status, c.want, body)
		}
		if status >= 400 && status < 404 && !strings.Contains(body, `"kind":"permission"`) {
			t.Errorf("%s: problem is not of kind permission: %s", name, body)
		}
	}
}

func TestClientWithoutTokenIsToldSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.client(t, "").Machines(context.Background())
	wantKind(t, err, droveway.Permission)
	w.server.Close()
	_, err = w.admin.Machines(context.Background())
	wantKind(t, err, droveway.Unavailable)
}

func TestTokensForJoining(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	got, err := w.admin.CreateToken(ctx, client.TokenRequest{Role: "host", Life: "2h"})
	must(t, err)
	if left := time.Until(got.Expires); left < time.Hour || left > 2*time.Hour {
		t.Errorf("token is good for %s, want 2h", left)
	}
	for _, r := range []client.TokenRequest{{Role: "host", Life: "never"}, {Role: "host", Life: "-1h"}, {Role: "host", Life: "1000h"}, {Role: "admin"}} {
		_, err := w.admin.CreateToken(ctx, r)
		wantKind(t, err, droveway.Invalid)
	}
}
