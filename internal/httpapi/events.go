package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
)

// EventRequest is the input of watch-events.
type EventRequest struct {
	Last    uint64 `header:"Last-Event-ID" doc:"Go on after this event; none: only new ones"`
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
	return a.serve(func(ctx context.Context, s *stream) error {
		return a.cfg.Events.Events(ctx, in.Last, func(seq uint64, e droveway.Event) error {
			if in.Subject != "" && e.Subject != in.Subject {
				return nil
			}
			return s.send(strconv.FormatUint(seq, 10), e)
		})
	}), nil
}
