package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// EventRequest is the input of watch-events.
type EventRequest struct {
	Last    string `header:"Last-Event-ID" pattern:"^[0-9]{1,19}$" doc:"Go on after the event of this number, 0: all that there are; none: only new ones"`
	Subject string `query:"subject" maxLength:"128" doc:"Only events of this object, as machine/web-1"`
}

func (a *API) eventRoutes() {
	route(a, admins, streamOp[droveway.Event](a, op("watch-events", http.MethodGet, "/v1/events", "Watch what happens in the fleet")), a.watchEvents)
}

func (a *API) schema(v any) *huma.Schema {
	t := reflect.TypeOf(v)
	return a.huma.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

func (a *API) watchEvents(_ context.Context, in *EventRequest) (*huma.StreamResponse, error) {
	since := client.FromNow
	if in.Last != "" {
		var err error
		if since, err = strconv.ParseUint(in.Last, 10, 64); err != nil {
			return nil, droveway.Errorf(droveway.Invalid, "Last-Event-ID %q: give the number of an event", in.Last)
		}
	}
	return a.serve(func(ctx context.Context, s *stream) error {
		return a.cfg.Events.Events(ctx, since, func(seq uint64, e droveway.Event) error {
			if in.Subject != "" && e.Subject != in.Subject {
				return nil
			}
			return s.send(strconv.FormatUint(seq, 10), e)
		})
	}), nil
}
