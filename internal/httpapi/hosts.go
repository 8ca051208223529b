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

// HostRemoval is the input of delete-host.
type HostRemoval struct {
	Named
	Lost bool `query:"lost" doc:"Although it has machines: the host is off for good, and none of them runs"`
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
	route(a, admins, op("delete-host", http.MethodDelete, "/v1/hosts/{name}", "Take a host out of the fleet"), a.deleteHost)
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

// deleteHost shuts the host out before it forgets it: while it is in the table, what
// failed halfway can be asked for again.
func (a *API) deleteHost(ctx context.Context, in *HostRemoval) (*struct{}, error) {
	if err := a.removable(ctx, in); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := a.shutOut(ctx, in.Name); err != nil {
		return nil, err
	}
	if err := a.cfg.Fleet.Hosts.Delete(ctx, in.Name); err != nil {
		return nil, err
	}
	a.publish(ctx, "host.removed", "host/"+in.Name)
	return nil, nil
}

// removable refuses to remove a host that has machines. A silent host may well
// run them, so that it is lost is the caller's word, which a host that answers
// disproves.
func (a *API) removable(ctx context.Context, in *HostRemoval) error {
	h, _, err := a.cfg.Fleet.Hosts.Get(ctx, in.Name)
	if err != nil {
		return err
	}
	if in.Lost && h.Status.State == droveway.HostReady {
		return droveway.Errorf(droveway.Conflict, "host %s is not lost: it answers", in.Name)
	}
	machines, err := a.cfg.Fleet.Machines.List(ctx)
	if err != nil || in.Lost {
		return err
	}
	for _, m := range machines {
		if m.Status.Host == in.Name || m.Spec.Host == in.Name {
			return droveway.Errorf(droveway.Conflict, "host %s has machine %s: move or remove its machines first", in.Name, m.Name)
		}
	}
	return nil
}

// shutOut takes from a host what it has: its identity on the bus, the tokens it
// downloads with, and then its own report, which it cannot write again.
func (a *API) shutOut(ctx context.Context, name string) error {
	tokens, err := a.cfg.Fleet.Tokens.List(ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if t.Role != RoleAgent || t.UsedBy != name {
			continue
		}
		if err := a.revoke(t.NKey); err != nil {
			return err
		}
		if err := a.cfg.Fleet.Tokens.Delete(ctx, t.Name); err != nil && !droveway.Is(err, droveway.NotFound) {
			return err
		}
	}
	err = fleet.HostReport(a.cfg.Fleet.Stores, name).Delete(ctx, "host")
	if droveway.Is(err, droveway.NotFound) {
		return nil
	}
	return err
}
