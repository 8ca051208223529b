package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// Renewing is the input of renew-certificate. Who asks is told by the token.
type Renewing struct {
	Authorization string `header:"Authorization" hidden:"true"`
	Body          client.RenewRequest
}

func (a *API) renewRoutes() {
	route(a, agents, op("renew-certificate", http.MethodPost, "/v1/renew", "Renew the certificate of the host whose token this is"), a.renew)
}

// renew signs a certificate for a host that is in the fleet, of its name and its
// present address, whatever it asks for.
func (a *API) renew(ctx context.Context, in *Renewing) (*reply[client.Renewed], error) {
	t, _, err := a.cfg.Fleet.Tokens.Get(ctx, TokenName(strings.TrimPrefix(in.Authorization, "Bearer ")))
	if err != nil {
		return nil, err
	}
	if t.Role != RoleAgent {
		return nil, droveway.Errorf(droveway.Permission, "a token of role %s has no certificate: a host renews its own", t.Role)
	}
	h, _, err := a.cfg.Fleet.Hosts.Get(ctx, t.UsedBy)
	if err != nil {
		return nil, err
	}
	cert, err := a.cfg.Registrar.Sign([]byte(in.Body.CSR), h.Name, []string{h.Status.Address})
	if err != nil {
		return nil, err
	}
	a.publish(ctx, "host.certificate-renewed", "host/"+h.Name)
	return answer(client.Renewed{Cert: string(cert)}, nil)
}
