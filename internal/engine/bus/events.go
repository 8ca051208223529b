package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

// The stream of events is bounded: it is a record of late, not an archive.
const (
	eventStream   = "EVENTS"
	eventMessages = 100_000
	eventBytes    = 256 << 20
	eventAge      = 30 * 24 * time.Hour
)

func makeEvents(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:     eventStream,
		Subjects: []string{"event.>"},
		Storage:  jetstream.FileStorage,
		MaxMsgs:  eventMessages,
		MaxBytes: eventBytes,
		MaxAge:   eventAge,
		Discard:  jetstream.DiscardOld,
	})
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "make the stream of events: %w", err)
	}
	return nil
}

func eventSubject(e droveway.Event) string {
	return "event." + strings.ReplaceAll(e.Source, "/", ".") + "." + e.Type
}

// Publish keeps an event in the stream; ID and Time are filled in if they are
// empty. An event without Source or Type is Invalid.
func (c *Conn) Publish(ctx context.Context, e droveway.Event) error {
	if e.Source == "" || e.Type == "" {
		return droveway.Errorf(droveway.Invalid, "event %q of source %q: give both type and source", e.Type, e.Source)
	}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	b, err := json.Marshal(e)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "encode event %s: %w", e.Type, err)
	}
	// The ID is not used to drop duplicates: one host could then suppress the
	// events of another.
	if _, err := c.JS.Publish(ctx, eventSubject(e), b); err != nil {
		return droveway.Errorf(droveway.Unavailable, "publish event %s: %w", e.Type, err)
	}
	return nil
}

// Events calls fn for every event after the one numbered since, one after the
// other: the first one has the number 1. If since was not given yet, as
// math.MaxUint64 never is, it begins with what happens from now on. It ends with fn's
// error, with the cause of ctx, or with Unavailable if the connection was closed.
func (c *Conn) Events(ctx context.Context, since uint64, fn func(seq uint64, e droveway.Event) error) error {
	from := store.From{Subjects: []string{"event.>"}, Policy: jetstream.DeliverNewPolicy}
	s, err := c.JS.Stream(ctx, eventStream)
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "read events: %w", err)
	}
	if since <= s.CachedInfo().State.LastSeq {
		from.Policy, from.Start = jetstream.DeliverByStartSequencePolicy, since+1
	}
	return store.Follow(ctx, c.JS, eventStream, from, func(m jetstream.Msg) error {
		if m == nil {
			return nil
		}
		return c.deliver(m, fn)
	})
}

// deliver passes an event on if it comes from the source it names. The bus lets
// a host write to its own subjects only, but not what it writes there.
func (c *Conn) deliver(m jetstream.Msg, fn func(uint64, droveway.Event) error) error {
	meta, err := m.Metadata()
	if err != nil {
		return droveway.Errorf(droveway.Internal, "read an event: %w", err)
	}
	e, ok := decodeEvent(m.Subject(), m.Data())
	if !ok {
		c.log.Warn("dropped an event that is not what its subject says", "subject", m.Subject())
		return nil
	}
	return fn(meta.Sequence.Stream, e)
}

func decodeEvent(subject string, data []byte) (e droveway.Event, ok bool) {
	if err := json.Unmarshal(data, &e); err != nil {
		return e, false
	}
	return e, eventSubject(e) == subject
}
