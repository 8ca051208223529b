package httpapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/httpapi"
)

// A host in the fleet gets a certificate of its own name and present address, whatever
// it asks for; nobody else gets one.
func TestRenewCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	h := droveway.Host{Meta: droveway.Meta{Name: "a"}, Status: droveway.HostStatus{Address: "192.0.2.8"}}
	must(t, w.fleet.Hosts.Create(ctx, "a", h))
	csr, key, err := pki.NewRequest("b")
	must(t, err)
	agent := w.client(t, w.newToken(t, fleet.Token{Role: httpapi.RoleAgent, UsedBy: "a"}))
	got, err := agent.RenewCertificate(ctx, client.RenewRequest{CSR: string(csr)})
	must(t, err)
	pair, err := tls.X509KeyPair([]byte(got.Cert), key)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.authority.CA())
	for _, name := range []string{"a", "192.0.2.8"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("the certificate is not good for %s: %v", name, err)
		}
	}
	if pair.Leaf.Subject.CommonName != "a" || pair.Leaf.VerifyHostname("b") == nil {
		t.Error("the host got the name that it asked for, not its own")
	}
	_, err = agent.RenewCertificate(ctx, client.RenewRequest{CSR: "nonsense"})
	wantKind(t, err, droveway.Invalid)
	for what, c := range map[string]struct {
		token string
		want  droveway.Kind
	}{
		"nobody":           {"", droveway.Permission},
		"an administrator": {w.token, droveway.Permission},
		"for joining":      {w.newToken(t, fleet.Token{Role: httpapi.RoleHost}), droveway.Permission},
		"a host that left": {w.newToken(t, fleet.Token{Role: httpapi.RoleAgent, UsedBy: "gone"}), droveway.NotFound},
	} {
		_, err := w.client(t, c.token).RenewCertificate(ctx, client.RenewRequest{CSR: string(csr)})
		if !droveway.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
}
