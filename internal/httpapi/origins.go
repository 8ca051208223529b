package httpapi

import (
	"context"
	"net/http"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/image/origin"
)

// Origins are sources that machines may run from before they are here.
type Origins interface {
	Offer(ctx context.Context, r origin.Request) (droveway.Origin, error)
	Get(id string) (droveway.Origin, error)
	Remove(id string) error
}

// NewOrigin is the input of offer-origin.
type NewOrigin struct {
	Body client.OriginRequest
}

func (a *API) originRoutes() {
	offer := withStatus(op("offer-origin", http.MethodPost, "/v1/origins", "Look at the source of an image, for a machine to run from before it is here"), http.StatusCreated)
	route(a, admins, offer, func(ctx context.Context, in *NewOrigin) (*reply[droveway.Origin], error) {
		b := &in.Body
		return answer(a.cfg.Origins.Offer(ctx, origin.Request{Link: b.Link, Shown: b.Shown, Disk: b.Disk, SHA256: b.SHA256}))
	})
	route(a, admins, op("get-origin", http.MethodGet, "/v1/origins/{name}", "Show an origin, and how much of it is here"), func(_ context.Context, in *Named) (*reply[droveway.Origin], error) {
		return answer(a.cfg.Origins.Get(in.Name))
	})
	route(a, admins, op("delete-origin", http.MethodDelete, "/v1/origins/{name}", "Forget an origin that no machine is filled from"), a.deleteOrigin)
}

func (a *API) deleteOrigin(ctx context.Context, in *Named) (*struct{}, error) {
	if _, err := a.cfg.Origins.Get(in.Name); err != nil {
		return nil, err
	}
	machines, err := a.cfg.Fleet.Machines.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range machines {
		for _, d := range machines[i].Spec.Disks {
			if d.Origin == in.Name {
				return nil, droveway.Errorf(droveway.Conflict, "disk %s of machine %s is filled from it: wait until it is whole, or remove the machine", d.Name, machines[i].Name)
			}
		}
	}
	return nil, a.cfg.Origins.Remove(in.Name)
}
