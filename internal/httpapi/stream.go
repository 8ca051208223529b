package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// writeTime is how long a reader may hold up a stream before it is cut.
	writeTime = 10 * time.Second
	// beatEvery is how often an idle stream says that it lives.
	beatEvery = 15 * time.Second
)

// stream sends server-sent events (HTML standard, section 9.2). Its methods may
// be called at the same time.
type stream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
}

// serve answers with a stream that lasts until feed returns, the caller goes
// away, or the server stops.
func (a *API) serve(feed func(ctx context.Context, s *stream) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		ctx, cancel := a.streaming(hc.Context())
		defer cancel()
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		s := &stream{w: w, control: http.NewResponseController(w)}
		if s.write(": begin\n\n") != nil {
			return
		}
		var beats sync.WaitGroup
		defer beats.Wait()
		beats.Go(func() { s.beat(ctx) })
		if err := feed(ctx, s); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("stream ended early", "operation", hc.Operation().OperationID, "error", err)
		}
		cancel()
	}}
}

// streaming gives the context of a stream.
func (a *API) streaming(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (s *stream) beat(ctx context.Context) {
	for pause(ctx, beatEvery) {
		if s.write(": beat\n\n") != nil {
			return // the next event finds out too
		}
	}
}

// send sends a value; id, if not empty, is where a reader can go on.
func (s *stream) send(id string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "data: %s\n\n", raw)
	return s.write(b.String())
}

func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return send(s.control, func() error { _, err := s.w.Write([]byte(text)); return err })
}

// send writes and flushes, in bounded time.
func send(control *http.ResponseController, write func() error) error {
	if err := control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	return control.Flush()
}

// streamOp describes an operation that answers with a stream of T.
func streamOp[T any](a *API, o huma.Operation) huma.Operation {
	schema := a.schema(*new(T))
	o.Metadata = map[string]any{streams: true}
	o.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events; data is JSON",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: schema}},
	}}
	return o
}
