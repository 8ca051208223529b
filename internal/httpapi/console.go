package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
)

// ConsoleRequest is the input of get-console.
type ConsoleRequest struct {
	Named
	Follow bool `query:"follow" doc:"Go on as the log grows, wherever the machine moves"`
}

// consolePause is how often a console that is followed is looked at.
const consolePause = 500 * time.Millisecond

func (a *API) console(ctx context.Context, in *ConsoleRequest) (*huma.StreamResponse, error) {
	r := &reader{api: a, name: in.Name}
	first, err := r.next(ctx)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		ctx, cancel := a.streaming(hc.Context())
		defer cancel()
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := r.copy(ctx, w, first, in.Follow); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("console ended early", "machine", in.Name, "error", err)
		}
	}}, nil
}

// reader reads a console from instance to instance: each has a log of its own.
type reader struct {
	api    *API
	name   string
	host   string
	token  uint64
	offset int64
}

// next reads the next piece; empty if there is none yet.
func (r *reader) next(ctx context.Context) ([]byte, error) {
	m, _, err := r.api.cfg.Fleet.Machines.Get(ctx, r.name)
	if err != nil {
		return nil, err
	}
	if m.Status.Host == "" {
		return nil, droveway.Errorf(droveway.Conflict, "machine %s has no host yet, and so no console", r.name)
	}
	if m.Status.Host != r.host || m.Status.Token != r.token {
		r.host, r.token, r.offset = m.Status.Host, m.Status.Token, 0
	}
	data, err := r.api.cfg.Consoles.Console(ctx, r.host, host.Console{Machine: r.name, Offset: r.offset})
	if err != nil {
		return nil, err
	}
	r.offset = data.Next
	return data.Data, nil
}

// copy writes the log from a first piece on, to its end or, if followed, until
// ctx ends. While it is followed, a host that does not answer is asked again.
func (r *reader) copy(ctx context.Context, w http.ResponseWriter, piece []byte, follow bool) error {
	control := http.NewResponseController(w)
	for {
		if len(piece) == 0 && !follow {
			return nil
		}
		if err := send(control, func() error { _, err := w.Write(piece); return err }); err != nil {
			return err
		}
		if len(piece) == 0 && !pause(ctx, consolePause) {
			return nil
		}
		next, err := r.next(ctx)
		if err != nil && !(follow && droveway.Is(err, droveway.Unavailable)) {
			return err
		}
		piece = next
	}
}

// pause waits; false says that ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
