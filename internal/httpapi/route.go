package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// Named is the input of an operation on one object. Like the other inputs it is
// exported for reflection.
type Named struct {
	Name string `path:"name" maxLength:"63" doc:"Name of the object"`
}

// Keyed is the input of an operation that makes a job.
type Keyed struct {
	Key string `header:"Idempotency-Key" maxLength:"128" doc:"Names the request: sending it again gives the same job"`
}

// Nothing is the input of an operation that needs none.
type Nothing struct{}

// reply is an answer with a body.
type reply[T any] struct{ Body T }

func answer[T any](v T, err error) (*reply[T], error) {
	if err != nil {
		return nil, err
	}
	return &reply[T]{v}, nil
}

func answerList[T any](items []T, err error) (*reply[client.List[T]], error) {
	if items == nil {
		items = []T{}
	}
	return answer(client.List[T]{Items: items}, err)
}

// accepted is the answer of an operation that has begun a job.
type accepted struct {
	Location string `header:"Location" doc:"Of the job"`
	Body     droveway.Job
}

func accept(j droveway.Job, err error) (*accepted, error) {
	if err != nil {
		return nil, err
	}
	return &accepted{"/v1/jobs/" + j.Name, j}, nil
}

// op describes an operation; the path may have {name} in it.
func op(id, method, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: bodyMax}
}

func withStatus(o huma.Operation, status int) huma.Operation {
	o.DefaultStatus = status
	return o
}

// route adds an operation.
func route[I, O any](a *API, need access, o huma.Operation, do func(context.Context, *I) (*O, error)) {
	if need != anybody {
		o.Security = []map[string][]string{{bearer: {}}}
	}
	o.Middlewares = append(huma.Middlewares{a.measured, a.guard(need)}, o.Middlewares...)
	if o.Responses == nil {
		o.Responses = map[string]*huma.Response{}
	}
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	o.Responses["default"] = &huma.Response{
		Description: "Problem (RFC 9457)",
		Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
	}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.problemOf(err, o.OperationID)
		}
		return out, nil
	})
}

// measured counts requests and their time.
func (a *API) measured(ctx huma.Context, next func(huma.Context)) {
	began := time.Now()
	next(ctx)
	id := ctx.Operation().OperationID
	a.metrics.requests.WithLabelValues(id, strconv.Itoa(max(ctx.Status(), http.StatusOK))).Inc()
	if ctx.Operation().Metadata[streams] == nil {
		a.metrics.duration.WithLabelValues(id).Observe(time.Since(began).Seconds())
	}
}

// streams marks, in the metadata, an operation that lasts as long as its caller
// likes.
const streams = "streams"
