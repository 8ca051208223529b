package httpapi

import (
	"context"
	"net/http"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/fleet"
)

// HostChange is the input of patch-host.
type HostChange struct {
	Named
	Body client.HostPatch
}

func (a *API) hostRoutes() {
	route(a, admins, op("list-hosts", http.MethodGet, "/v1/hosts", "List the hosts"), func(ctx context.Context, _ *Nothing) (*reply[client.List[droveway.Host]], error) {
		return answerList(a.cfg.Fleet.Hosts.List(ctx))
	})
	route(a, admins, op("get-host", http.MethodGet, "/v1/hosts/{name}", "Show a host"), func(ctx context.Context, in *Named) (*reply[droveway.Host], error) {
		h, _, err := a.cfg.Fleet.Hosts.Get(ctx, in.Name)
		return answer(h, err)
	})
	route(a, admins, op("patch-host", http.MethodPatch, "/v1/hosts/{name}", "Change what is wanted of a host"), a.patchHost)
	route(a, admins, op("delete-host", http.MethodDelete, "/v1/hosts/{name}", "Take a host without machines out of the fleet"), a.deleteHost)
}

func (a *API) patchHost(ctx context.Context, in *HostChange) (*reply[droveway.Host], error) {
	changed := false
	h, err := a.cfg.Fleet.Hosts.Update(ctx, in.Name, func(h *droveway.Host) error {
		if in.Body.Cordoned != nil {
			changed = h.Spec.Cordoned != *in.Body.Cordoned
			h.Spec.Cordoned = *in.Body.Cordoned
		}
		return nil
	})
	if err == nil && changed {
		kind := "host.uncordoned"
		if h.Spec.Cordoned {
			kind = "host.cordoned"
		}
		a.publish(ctx, kind, "host/"+in.Name)
	}
	return answer(h, err)
}

func (a *API) deleteHost(ctx context.Context, in *Named) (*struct{}, error) {
	machines, err := a.cfg.Fleet.Machines.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		if m.Status.Host == in.Name || m.Spec.Host == in.Name {
			return nil, droveway.Errorf(droveway.Conflict, "host %s has machine %s: move or remove its machines first", in.Name, m.Name)
		}
	}
	if err := a.cfg.Fleet.Hosts.Delete(ctx, in.Name); err != nil {
		return nil, err
	}
	a.publish(ctx, "host.removed", "host/"+in.Name)
	return nil, a.forget(ctx, in.Name)
}

// forget removes what a host that left had: its own report, and the tokens it
// downloads with.
func (a *API) forget(ctx context.Context, name string) error {
	ctx = context.WithoutCancel(ctx)
	err := fleet.HostReport(a.cfg.Fleet.Stores, name).Delete(ctx, "host")
	if err != nil && !droveway.Is(err, droveway.NotFound) {
		return err
	}
	tokens, err := a.cfg.Fleet.Tokens.List(ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if t.Role != RoleAgent || t.UsedBy != name {
			continue
		}
		if err := a.cfg.Fleet.Tokens.Delete(ctx, t.Name); err != nil && !droveway.Is(err, droveway.NotFound) {
			return err
		}
	}
	return nil
}
