package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/service"
	"github.com/droveway/droveway/internal/fleet"
)

// defaultSite is where a probe is that names no site.
const defaultSite = "default"

func (a *API) probeRoutes() {
	route(a, admins, op("list-probes", http.MethodGet, "/v1/probes", "List the probes and how well they watch"), func(ctx context.Context, _ *Nothing) (*reply[client.List[service.Probe]], error) {
		return answerList(a.cfg.Relations.Probes(ctx))
	})
	route(a, admins, op("delete-probe", http.MethodDelete, "/v1/probes/{name}", "Take a probe out of the fleet"), a.deleteProbe)
}

func (a *API) deleteProbe(ctx context.Context, in *Named) (*struct{}, error) {
	p, _, err := a.cfg.Fleet.Probes.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if err := a.revoke(p.NKey); err != nil {
		return nil, err
	}
	if err := a.cfg.Relations.RemoveProbe(ctx, in.Name); err != nil {
		return nil, err
	}
	a.publish(ctx, "probe.removed", "probe/"+in.Name)
	return nil, nil
}

// revoke shuts an identity out of the bus.
func (a *API) revoke(nkey string) error {
	if nkey == "" {
		return nil // it joined before identities were noted
	}
	return a.cfg.Registrar.Revoke(nkey)
}

// joinProbe takes a probe into the fleet. It gets access to its own subjects of
// the bus, and neither a certificate nor a token of the API.
func (a *API) joinProbe(ctx context.Context, r client.JoinRequest) (client.Joined, error) {
	site := cmp.Or(r.Site, defaultSite)
	if err := droveway.ValidName("probe", r.Name); err != nil {
		return client.Joined{}, err
	}
	if err := droveway.ValidName("site", site); err != nil {
		return client.Joined{}, err
	}
	if err := checkKey(r); err != nil {
		return client.Joined{}, err
	}
	if _, _, err := a.cfg.Fleet.Probes.Get(ctx, r.Name); !droveway.Is(err, droveway.NotFound) {
		if err == nil {
			err = probeTaken(r.Name)
		}
		return client.Joined{}, err
	}
	jwt, err := a.cfg.Registrar.ProbeCredentials(r.Name, r.NKey)
	if err != nil {
		return client.Joined{}, err
	}
	// From here on the probe exists, whether or not it hears of it.
	ctx = context.WithoutCancel(ctx)
	if err := a.spend(ctx, r.Token, RoleProbe, r.Name); err != nil {
		return client.Joined{}, err
	}
	p := fleet.Probe{Meta: droveway.Meta{Name: r.Name, Created: time.Now().UTC()}, Site: site, NKey: r.NKey}
	if err := a.cfg.Fleet.Probes.Create(ctx, r.Name, p); err != nil {
		if droveway.Is(err, droveway.Exists) {
			err = probeTaken(r.Name)
		}
		return client.Joined{}, err
	}
	a.publish(ctx, "probe.joined", "probe/"+r.Name)
	return client.Joined{BusURL: a.cfg.Registrar.URL(), JWT: jwt, CA: string(a.cfg.Registrar.CA())}, nil
}

func probeTaken(name string) error {
	return droveway.Errorf(droveway.Exists, "there is a probe %s already: join under another name, or remove that one first (droveway probe rm)", name)
}
