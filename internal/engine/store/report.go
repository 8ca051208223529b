package store

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// Reporter writes objects into a table that it may not read: the side of a host,
// which the bus lets publish to its own keys and nothing else. There is one
// writer of those keys, so the last write counts.
type Reporter[T any] struct {
	js      jetstream.JetStream
	subject string
	prefix  string
}

// NewReporter makes the writing side of NewTable(bucket, prefix).
func NewReporter[T any](js jetstream.JetStream, bucket, prefix string) Reporter[T] {
	return Reporter[T]{js: js, subject: "$KV." + bucket + "." + prefix + ".", prefix: prefix}
}

// Put writes an object. An error is Unavailable, or Invalid if the value cannot
// be stored.
func (r Reporter[T]) Put(ctx context.Context, name string, v T) error {
	b, err := json.Marshal(v)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "report %s %q: %w", r.prefix, name, err)
	}
	m := nats.NewMsg(r.subject + encodeName(name))
	m.Data = b
	return r.publish(ctx, m, name)
}

// Delete removes an object, if it is there.
func (r Reporter[T]) Delete(ctx context.Context, name string) error {
	return r.publish(ctx, Mark(r.subject+encodeName(name)), name, jetstream.WithMsgTTL(markerLife))
}

func (r Reporter[T]) publish(ctx context.Context, m *nats.Msg, name string, opts ...jetstream.PublishOpt) error {
	if _, err := r.js.PublishMsg(ctx, m, opts...); err != nil {
		return droveway.Errorf(droveway.Unavailable, "report %s %q: %w", r.prefix, name, err)
	}
	return nil
}

// Mark makes the message that says that a key was deleted (NATS ADR-8). It is to
// be published with a time to live; the key's owner says which.
func Mark(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Header.Set("KV-Operation", "DEL")
	return m
}
