package httpapi_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

func joinRequest(t testing.TB, token, name string) client.JoinRequest {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	public, err := pair.PublicKey()
	must(t, err)
	csr, _, err := pki.NewRequest("somebody-else")
	must(t, err)
	return client.JoinRequest{Token: token, Name: name, Address: "192.0.2.7", NKey: public, CSR: string(csr)}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	token, err := w.admin.CreateToken(ctx, client.TokenRequest{Role: "host"})
	must(t, err)
	stranger := w.client(t, "")
	got, err := stranger.Join(ctx, joinRequest(t, token.Token, "a"))
	must(t, err)

	block, _ := pem.Decode([]byte(got.Cert))
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(got.CA))
	for _, name := range []string{"a", "192.0.2.7"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("the certificate is not good for %s: %v", name, err)
		}
	}
	if cert.VerifyHostname("somebody-else") == nil {
		t.Error("the host got the name that it asked for, not its own")
	}
	h, err := w.admin.Host(ctx, "a")
	must(t, err)
	if h.Status.State != droveway.HostJoined || h.Status.Address != "192.0.2.7" {
		t.Errorf("the host is %+v", h.Status)
	}
	if _, err := w.client(t, got.APIToken).Hosts(ctx); !droveway.Is(err, droveway.Permission) {
		t.Errorf("a host's token lets it list hosts: %v", err)
	}
	_, err = w.client(t, got.APIToken).OpenImage(ctx, "none", 0)
	wantKind(t, err, droveway.NotFound)
}

func TestJoinRefusesBadTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		token string
		says  string
	}{
		"wrong":   {"dw_nonsense", "not known"},
		"empty":   {"", "not known"},
		"spent":   {w.newToken(t, fleet.Token{Role: httpapi.RoleHost, UsedBy: "b"}), "used by host b"},
		"expired": {w.newToken(t, fleet.Token{Role: httpapi.RoleHost, Expires: time.Now().Add(-time.Minute)}), "expired"},
		"admin":   {w.token, "role admin"},
	} {
		_, err := w.client(t, "").Join(ctx, joinRequest(t, c.token, "a"))
		wantKind(t, err, droveway.Permission)
		if err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the message %q does not say %q", name, err, c.says)
		}
	}
	hosts, err := w.admin.Hosts(ctx)
	must(t, err)
	if len(hosts) > 0 {
		t.Errorf("hosts got in: %v", hosts)
	}
}

func TestSlipDoesNotCostTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	must(t, w.fleet.Hosts.Create(ctx, "taken", droveway.Host{Meta: droveway.Meta{Name: "taken"}}))
	token := w.newToken(t, fleet.Token{Role: httpapi.RoleHost})
	for name, c := range map[string]struct {
		change func(*client.JoinRequest)
		want   droveway.Kind
	}{
		"name taken":    {func(r *client.JoinRequest) { r.Name = "taken" }, droveway.Exists},
		"name":          {func(r *client.JoinRequest) { r.Name = "No.Name" }, droveway.Invalid},
		"address":       {func(r *client.JoinRequest) { r.Address = "nowhere" }, droveway.Invalid},
		"no address":    {func(r *client.JoinRequest) { r.Address = "0.0.0.0" }, droveway.Invalid},
		"nkey":          {func(r *client.JoinRequest) { r.NKey = "AAAA" }, droveway.Invalid},
		"request":       {func(r *client.JoinRequest) { r.CSR = "-----BEGIN" }, droveway.Invalid},
		"large request": {func(r *client.JoinRequest) { r.CSR = strings.Repeat("x", 20000) }, droveway.Invalid},
	} {
		r := joinRequest(t, token, "a")
		c.change(&r)
		_, err := w.client(t, "").Join(ctx, r)
		if !droveway.Is(err, c.want) {
			t.Errorf("%s: %v is of kind %q, want %q", name, err, droveway.KindOf(err), c.want)
		}
	}
	_, err := w.client(t, "").Join(ctx, joinRequest(t, token, "a"))
	must(t, err)
}

func TestOneTokenLetsOneHostIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newToken(t, fleet.Token{Role: httpapi.RoleHost})
	stranger := w.client(t, "")
	errs := make([]error, 4)
	var all sync.WaitGroup
	for i := range errs {
		r := joinRequest(t, token, fmt.Sprintf("h%d", i))
		all.Go(func() { _, errs[i] = stranger.Join(context.Background(), r) })
	}
	all.Wait()
	in := 0
	for _, err := range errs {
		if err == nil {
			in++
			continue
		}
		wantKind(t, err, droveway.Permission)
	}
	hosts, err := w.admin.Hosts(context.Background())
	must(t, err)
	if in != 1 || len(hosts) != 1 {
		t.Errorf("%d hosts got in, %d are listed, want 1", in, len(hosts))
	}
}
