package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// NewNetwork is the input of create-network.
type NewNetwork struct{ Body client.NetworkRequest }

func (a *API) networkRoutes() {
	route(a, admins, op("list-networks", http.MethodGet, "/v1/networks", "List the networks"), func(ctx context.Context, _ *Nothing) (*reply[client.List[droveway.Network]], error) {
		return answerList(a.cfg.Fleet.Networks.List(ctx))
	})
	route(a, admins, withStatus(op("create-network", http.MethodPost, "/v1/networks", "Make a network"), http.StatusCreated), a.createNetwork)
	route(a, admins, op("delete-network", http.MethodDelete, "/v1/networks/{name}", "Remove a network that no machine uses"), a.deleteNetwork)
}

func (a *API) createNetwork(ctx context.Context, in *NewNetwork) (*reply[droveway.Network], error) {
	a.networks.Lock()
	defer a.networks.Unlock()
	all, err := a.cfg.Fleet.Networks.List(ctx)
	if err != nil {
		return nil, err
	}
	n := droveway.Network{
		Meta:   droveway.Meta{Name: in.Body.Name, Created: time.Now().UTC()},
		Subnet: in.Body.Subnet, VNI: in.Body.VNI,
	}
	if n.VNI == 0 {
		n.VNI = freeVNI(all)
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	for _, other := range all {
		if other.VNI == n.VNI && other.Name != n.Name {
			return nil, droveway.Errorf(droveway.Conflict, "network %s: VNI %d is that of network %s: leave it out, and one is given", n.Name, n.VNI, other.Name)
		}
	}
	if err := a.cfg.Fleet.Networks.Create(ctx, n.Name, n); err != nil {
		return nil, err
	}
	a.publish(ctx, "network.created", "network/"+n.Name)
	return answer(n, nil)
}

// firstVNI is where the numbers begin that the server gives: small ones are
// often in use already.
const firstVNI = 4243

func freeVNI(all []droveway.Network) uint32 {
	vni := uint32(firstVNI)
	for slices.ContainsFunc(all, func(n droveway.Network) bool { return n.VNI == vni }) {
		vni++
	}
	return vni
}

func (a *API) deleteNetwork(ctx context.Context, in *Named) (*struct{}, error) {
	machines, err := a.cfg.Fleet.Machines.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		if slices.ContainsFunc(m.Spec.NICs, func(n droveway.NIC) bool { return n.Network == in.Name }) {
			return nil, droveway.Errorf(droveway.Conflict, "machine %s is on network %s: remove it first", m.Name, in.Name)
		}
	}
	if err := a.cfg.Fleet.Networks.Delete(ctx, in.Name); err != nil {
		return nil, err
	}
	a.publish(ctx, "network.removed", "network/"+in.Name)
	return nil, nil
}
