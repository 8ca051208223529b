package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/discover/service"
)

// GroupChange is the input of put-application.
type GroupChange struct {
	Named
	Body client.ApplicationRequest
}

// WaveLimits is the input of plan-waves.
type WaveLimits struct {
	Hosts  int   `query:"hosts" minimum:"0" doc:"At most so many in a wave; 0: no limit"`
	Bytes  int64 `query:"bytes" minimum:"0" doc:"At most so many on the disks of a wave; 0: no limit"`
	Window int64 `query:"window" minimum:"0" maximum:"31536000" doc:"Seconds in which the disks of a wave have to be copied; 0: no limit"`
	Rate   int64 `query:"rate" minimum:"0" doc:"Bytes a second that are copied; 0: as measured in past moves"`
}

// relationUseRoutes are what people ask before they move anything.
func (a *API) relationUseRoutes() {
	route(a, admins, op("list-applications", http.MethodGet, "/v1/applications", "List the groups of hosts that belong together"), func(context.Context, *Nothing) (*reply[client.List[graph.Application]], error) {
		return answerList(a.cfg.Relations.Applications(), nil)
	})
	route(a, admins, op("put-application", http.MethodPut, "/v1/applications/{name}", "Say which hosts belong together; none: forget the group"), func(ctx context.Context, in *GroupChange) (*struct{}, error) {
		return nil, a.cfg.Relations.SetGroup(ctx, service.Group{Name: in.Name, Hosts: in.Body.Hosts})
	})
	route(a, admins, op("plan-waves", http.MethodGet, "/v1/relations/waves", "Plan in which order to move all applications"), func(ctx context.Context, in *WaveLimits) (*reply[client.List[graph.Wave]], error) {
		return answerList(a.cfg.Relations.Waves(ctx, service.WaveLimits{
			Hosts: in.Hosts, Bytes: in.Bytes, Window: time.Duration(in.Window) * time.Second, Rate: in.Rate,
		}))
	})
	route(a, admins, op("show-blast", http.MethodGet, "/v1/relations/blast/{name}", "List who depends on a host, directly or through others"), func(_ context.Context, in *Named) (*reply[client.List[graph.Impact]], error) {
		return answerList(a.cfg.Relations.Blast(in.Name))
	})
}
