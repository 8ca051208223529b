package bus

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/droveway/droveway"
)

// callTime bounds a call whose context has no deadline: an answer can get lost
// with the host that wanted to give it.
const callTime = 30 * time.Second

// reply is what a host answers.
type reply struct {
	Error *droveway.Error `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

func commandSubject(host, verb string) string { return "cmd." + host + "." + verb }

// Call sends a command to a host and waits for its answer, which is decoded into
// out (nil: not wanted). It waits until ctx ends, 30 s if that has no deadline.
//
// An error of the host's handler keeps its kind and message. A host that is not
// connected, or does not answer in time, is Unavailable: the command may or may
// not have been carried out, so all commands must bear being repeated.
func (c *Conn) Call(ctx context.Context, host, verb string, in, out any) (err error) {
	defer func(begun time.Time) { c.metrics.called(verb, begun, err) }(time.Now())
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	b, err := json.Marshal(in)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "encode command %s for host %s: %w", verb, host, err)
	}
	m, err := c.NC.RequestWithContext(ctx, commandSubject(host, verb), b)
	if err != nil {
		return callError(ctx, host, verb, err)
	}
	return decodeReply(m.Data, host, verb, out)
}

func callError(ctx context.Context, host, verb string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(err, nats.ErrNoResponders):
		return droveway.Errorf(droveway.Unavailable, "host %s is not connected: see whether its host role runs", host)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return droveway.Errorf(droveway.Unavailable, "host %s has not answered %s in time", host, verb)
	case errors.Is(err, nats.ErrMaxPayload):
		return droveway.Errorf(droveway.Invalid, "command %s for host %s is larger than the bus carries: %w", verb, host, err)
	}
	return droveway.Errorf(droveway.Unavailable, "send %s to host %s: %w", verb, host, err)
}

func decodeReply(data []byte, host, verb string, out any) error {
	var r reply
	if err := json.Unmarshal(data, &r); err != nil {
		return droveway.Errorf(droveway.Internal, "answer of host %s to %s: %w", host, verb, err)
	}
	if r.Error != nil {
		return hostError(r.Error, host, verb)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.Value, out); err != nil {
		return droveway.Errorf(droveway.Internal, "answer of host %s to %s: %w", host, verb, err)
	}
	return nil
}

// hostError is an error as a host gave it. One without kind or message is a
// defect of the host, and still an error.
func hostError(e *droveway.Error, host, verb string) error {
	if e.Kind == "" || e.Message == "" {
		return droveway.Errorf(droveway.Internal, "host %s failed at %s and does not say why", host, verb)
	}
	return e
}
