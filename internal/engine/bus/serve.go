package bus

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/droveway/droveway"
)

// Handler carries out a command. Its ctx ends with that of Serve.
type Handler func(ctx context.Context, in json.RawMessage) (any, error)

// backlog is how many commands may wait to be picked up. Each gets a goroutine
// of its own at once, so it only smooths bursts.
const backlog = 256

// Serve answers the commands for a host, by verb, each in its own goroutine,
// until ctx ends; then it waits for those under way. It outlives losses of the
// connection. A handler that panics answers with an Internal error.
func (c *Conn) Serve(ctx context.Context, host string, handlers map[string]Handler) error {
	requests := make(chan *nats.Msg, backlog)
	sub, err := c.NC.ChanSubscribe(commandSubject(host, ">"), requests)
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "take commands for host %s: %w", host, err)
	}
	var under sync.WaitGroup
	defer under.Wait()
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	prefix := commandSubject(host, "")
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.closed:
			return droveway.Errorf(droveway.Unavailable, "take commands for host %s: the connection was closed", host)
		case m := <-requests:
			under.Go(func() {
				verb := strings.TrimPrefix(m.Subject, prefix)
				c.answer(m, handle(ctx, handlers[verb], verb, m.Data, c.log))
			})
		}
	}
}

func handle(ctx context.Context, h Handler, verb string, in []byte, log *slog.Logger) (r reply) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a command failed by a defect", "verb", verb, "panic", p, "stack", string(debug.Stack()))
			r = reply{Error: &droveway.Error{Kind: droveway.Internal, Message: "command " + verb + " failed by a defect; the host's log says more"}}
		}
	}()
	if h == nil {
		return reply{Error: &droveway.Error{Kind: droveway.Unsupported, Feature: verb, Message: "the host does not know the command " + verb + ": update it"}}
	}
	out, err := h(ctx, in)
	if err != nil {
		return reply{Error: wireError(err)}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return reply{Error: wireError(droveway.Errorf(droveway.Internal, "encode the answer to %s: %w", verb, err))}
	}
	return reply{Value: b}
}

// wireError keeps of an error what the other side can use: kind, the whole
// message, and the missing feature.
func wireError(err error) *droveway.Error {
	e := &droveway.Error{Kind: droveway.KindOf(err), Message: err.Error()}
	if d, ok := errors.AsType[*droveway.Error](err); ok {
		e.Feature = d.Feature
	}
	return e
}

func (c *Conn) answer(m *nats.Msg, r reply) {
	b, err := json.Marshal(r)
	if err == nil {
		err = m.Respond(b)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		b, _ = json.Marshal(reply{Error: &droveway.Error{Kind: droveway.Internal, Message: "the answer is larger than the bus carries"}})
		err = m.Respond(b)
	}
	if err != nil {
		c.log.Warn("an answer was lost; the command will be repeated", "subject", m.Subject, "error", err)
	}
}
