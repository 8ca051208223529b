package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// statusOf is the status of each kind of error. 401 stands beside it: a caller
// that nobody knows, which is of kind permission too.
var statusOf = map[droveway.Kind]int{
	droveway.Invalid:     http.StatusUnprocessableEntity,
	droveway.NotFound:    http.StatusNotFound,
	droveway.Exists:      http.StatusConflict,
	droveway.Conflict:    http.StatusConflict,
	droveway.Unsupported: http.StatusUnprocessableEntity,
	droveway.Permission:  http.StatusForbidden,
	droveway.Unavailable: http.StatusServiceUnavailable,
	droveway.Internal:    http.StatusInternalServerError,
}

// problem is an error as it goes over the wire.
type problem struct{ client.Problem }

func (p *problem) Error() string             { return p.Detail }
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func newProblem(status int, kind droveway.Kind, detail string) *problem {
	return &problem{client.Problem{Title: http.StatusText(status), Status: status, Kind: kind, Detail: detail}}
}

// problemOf makes a problem of an error. A defect goes to the log too: whoever
// asked cannot mend it.
func (a *API) problemOf(err error, operation string) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	kind := droveway.KindOf(err)
	if kind == droveway.Internal {
		a.cfg.Log.Error("request failed", "operation", operation, "error", err)
	}
	p := newProblem(statusOf[kind], kind, err.Error())
	if e, ok := errors.AsType[*droveway.Error](err); ok {
		p.Feature = e.Feature
	}
	return p
}

// asProblem turns the errors of the framework, which finds requests that do not
// fit the description, into problems of ours.
func asProblem(_ huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	kind := droveway.Invalid
	if model.Status >= http.StatusInternalServerError {
		kind = droveway.Internal
	}
	return newProblem(model.Status, kind, detail(model)), nil
}

// detail says all that is wrong in one line. The values are left out: they may
// be secret.
func detail(model *huma.ErrorModel) string {
	parts := make([]string, 0, len(model.Errors))
	for _, e := range model.Errors {
		parts = append(parts, strings.TrimPrefix(e.Location+": "+e.Message, ": "))
	}
	if len(parts) == 0 {
		return model.Detail
	}
	return fmt.Sprintf("the request does not fit the API: %s: see /openapi.json", strings.Join(parts, "; "))
}

func writeProblem(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", problemType)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // whoever asked is gone if this fails
}

// recovered turns a panic into a problem instead of a cut connection.
func (a *API) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			a.cfg.Log.Error("panic in a request", "path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			writeProblem(w, newProblem(http.StatusInternalServerError, droveway.Internal, "a defect of the server: see its log"))
		}()
		next.ServeHTTP(w, r)
	})
}
