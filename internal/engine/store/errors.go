package store

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// explain gives an error of the bus its kind.
func (t Table[T]) explain(verb, name string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return droveway.Errorf(droveway.NotFound, "there is no %s %q", t.prefix, name)
	case stale(err):
		return droveway.Errorf(droveway.Conflict, "%s %s %q: somebody else changed it meanwhile: read it again", verb, t.prefix, name)
	case errors.Is(err, nats.ErrMaxPayload):
		return droveway.Errorf(droveway.Invalid, "%s %s %q: it is larger than the bus carries: %w", verb, t.prefix, name, err)
	}
	return droveway.Errorf(droveway.Unavailable, "%s %s %q: %w", verb, t.prefix, name, err)
}

func (t Table[T]) unreadable(name string, err error) error {
	return droveway.Errorf(droveway.Internal, "%s %q is stored in a way that this version cannot read: %w", t.prefix, name, err)
}

// Stale reports whether a write failed because its key was no longer at the
// expected revision. A stream with several replicas has an error code of its own
// for that: 10164 beside 10071.
func Stale(err error) bool { return stale(err) }

func stale(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
