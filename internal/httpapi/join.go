package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/fleet"
)

// NewToken is the input of create-token.
type NewTokenRequest struct{ Body client.TokenRequest }

// Joining is the input of join.
type Joining struct{ Body client.JoinRequest }

const (
	lifeDefault = time.Hour
	lifeMax     = 30 * 24 * time.Hour
)

func (a *API) joinRoutes() {
	route(a, admins, withStatus(op("create-token", http.MethodPost, "/v1/tokens", "Make a token; it is shown once"), http.StatusCreated), a.createToken)
	route(a, anybody, op("join", http.MethodPost, "/v1/join", "Become a host or a probe of the fleet, with a join token"), a.join)
}

func (a *API) createToken(ctx context.Context, in *NewTokenRequest) (*reply[client.Token], error) {
	life := lifeDefault
	if in.Body.Life != "" {
		var err error
		life, err = time.ParseDuration(in.Body.Life)
		if err != nil || life <= 0 || life > lifeMax {
			return nil, droveway.Errorf(droveway.Invalid, "life %q of a token: give a time such as 30m or 2h, at most %s", in.Body.Life, lifeMax)
		}
	}
	secret, name := NewToken()
	now := time.Now().UTC()
	t := fleet.Token{Meta: droveway.Meta{Name: name, Created: now}, Role: in.Body.Role, Expires: now.Add(life)}
	if err := a.cfg.Fleet.Tokens.Create(ctx, name, t); err != nil {
		return nil, err
	}
	return answer(client.Token{Token: secret, Role: t.Role, Expires: t.Expires}, nil)
}

// join takes a host into the fleet. The token is looked at before anything else,
// since anybody may ask, and spent after everything that can be wrong with the
// request was found right: a slip does not cost the token.
func (a *API) join(ctx context.Context, in *Joining) (*reply[client.Joined], error) {
	req := in.Body
	role := cmp.Or(req.Role, RoleHost)
	if err := a.joinToken(ctx, req.Token, role); err != nil {
		return nil, err
	}
	if role == RoleProbe {
		return answer(a.joinProbe(ctx, req))
	}
	addr, err := checkJoin(req)
	if err != nil {
		return nil, err
	}
	if _, _, err := a.cfg.Fleet.Hosts.Get(ctx, req.Name); !droveway.Is(err, droveway.NotFound) {
		if err == nil {
			err = taken(req.Name)
		}
		return nil, err
	}
	joined, err := a.identify(req, addr)
	if err != nil {
		return nil, err
	}
	// From here on the host exists, whether or not it hears of it.
	return answer(a.admitHost(context.WithoutCancel(ctx), req, addr, joined))
}

func taken(name string) error {
	return droveway.Errorf(droveway.Exists, "there is a host %s already: join under another name, or remove that one first", name)
}

// joinToken refuses a token with which nobody of a role may join.
func (a *API) joinToken(ctx context.Context, secret, role string) error {
	t, _, err := a.cfg.Fleet.Tokens.Get(ctx, TokenName(secret))
	if droveway.Is(err, droveway.NotFound) {
		return unauthorized("the join token is not known to this server: make one with droveway token create --role " + role)
	}
	if err != nil {
		return err
	}
	return joinable(t, role)
}

func joinable(t fleet.Token, role string) error {
	switch {
	case t.Role != role:
		return unauthorized("a token of role " + t.Role + " lets no " + role + " join: make one with droveway token create --role " + role)
	case t.UsedBy != "":
		return unauthorized("the join token was used by " + role + " " + t.UsedBy + ", and is good once: make another with droveway token create")
	case expired(t):
		return unauthorized("the join token has expired: make another with droveway token create")
	}
	return nil
}

// checkJoin checks what needs no table.
func checkJoin(r client.JoinRequest) (netip.Addr, error) {
	if err := droveway.ValidName("host", r.Name); err != nil {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(r.Address)
	if err != nil || addr.IsUnspecified() || addr.Zone() != "" {
		return netip.Addr{}, droveway.Errorf(droveway.Invalid, "address %q of host %s: give the IP address that other hosts reach it by", r.Address, r.Name)
	}
	return addr, checkKey(r)
}

func checkKey(r client.JoinRequest) error {
	if !nkeys.IsValidPublicUserKey(r.NKey) {
		return droveway.Errorf(droveway.Invalid, "nkey of host %s: it is no public user key", r.Name)
	}
	return nil
}

// identify makes the identities of a host.
func (a *API) identify(r client.JoinRequest, addr netip.Addr) (client.Joined, error) {
	cert, err := a.cfg.Registrar.Sign([]byte(r.CSR), r.Name, []string{addr.String()})
	if err != nil {
		return client.Joined{}, err
	}
	jwt, err := a.cfg.Registrar.HostCredentials(r.Name, r.NKey)
	if err != nil {
		return client.Joined{}, err
	}
	return client.Joined{BusURL: a.cfg.Registrar.URL(), JWT: jwt, CA: string(a.cfg.Registrar.CA()), Cert: string(cert)}, nil
}

// admitHost spends the token and makes the host. Of two that come with one
// token, or under one name, one gets in.
func (a *API) admitHost(ctx context.Context, r client.JoinRequest, addr netip.Addr, j client.Joined) (client.Joined, error) {
	if err := a.spend(ctx, r.Token, RoleHost, r.Name); err != nil {
		return j, err
	}
	secret, name := NewToken()
	now := time.Now().UTC()
	agent := fleet.Token{Meta: droveway.Meta{Name: name, Created: now}, Role: RoleAgent, UsedBy: r.Name, NKey: r.NKey}
	if err := a.cfg.Fleet.Tokens.Create(ctx, name, agent); err != nil {
		return j, err
	}
	h := droveway.Host{
		Meta:   droveway.Meta{Name: r.Name, Created: now},
		Status: droveway.HostStatus{State: droveway.HostJoined, Address: addr.String()},
	}
	if err := a.cfg.Fleet.Hosts.Create(ctx, r.Name, h); err != nil {
		if droveway.Is(err, droveway.Exists) {
			return j, taken(r.Name)
		}
		return j, err
	}
	j.APIToken = secret
	a.publish(ctx, "host.joined", "host/"+r.Name)
	return j, nil
}

// spend uses up a join token.
func (a *API) spend(ctx context.Context, secret, role, name string) error {
	_, err := a.cfg.Fleet.Tokens.Update(ctx, TokenName(secret), func(t *fleet.Token) error {
		if err := joinable(*t, role); err != nil {
			return err
		}
		t.UsedBy = name
		return nil
	})
	return err
}
