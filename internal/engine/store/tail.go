package store

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// Tail reads a stream message by message, in order and without gaps, over lost
// connections. It is for what a Table does not show: the headers of messages,
// their numbers.
type Tail struct {
	stream string
	msgs   jetstream.MessagesContext
	detach func() bool
}

// OpenTail begins to read a stream. The Tail ends with ctx, or by Close.
func OpenTail(ctx context.Context, js jetstream.JetStream, stream string, cfg jetstream.OrderedConsumerConfig) (*Tail, error) {
	cons, err := js.OrderedConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "read stream %s: %w", stream, err)
	}
	msgs, err := cons.Messages()
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "read stream %s: %w", stream, err)
	}
	// While the bus is away, Next may be deep in attempts to get it back, which
	// heed no context.
	return &Tail{stream, msgs, context.AfterFunc(ctx, msgs.Stop)}, nil
}

// Next waits for the next message. It ends with the cause of ctx, or with
// Unavailable if the connection was closed; after the former it may be called
// again.
func (t *Tail) Next(ctx context.Context) (jetstream.Msg, error) {
	m, err := t.msgs.Next(jetstream.NextContext(ctx))
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return nil, context.Cause(ctx)
	}
	return nil, droveway.Errorf(droveway.Unavailable, "read stream %s: %w", t.stream, err)
}

// Close ends the reading.
func (t *Tail) Close() {
	t.detach()
	t.msgs.Stop()
}
