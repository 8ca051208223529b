package store

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

const (
	// A reader that hears nothing for twice this long looks for itself.
	heartbeat = 2 * time.Second
	// The server forgets a reader that has not asked for this long.
	readerLife = 30 * time.Second
	// Between attempts to read on.
	followAgain = 200 * time.Millisecond
	// apiTime bounds one request to the server.
	apiTime = 5 * time.Second
)

// From says where Follow begins to read a stream.
type From struct {
	Subjects []string // may have wildcards
	// Policy is DeliverNew, DeliverByStartSequence (at Start) or
	// DeliverLastPerSubject.
	Policy jetstream.DeliverPolicy
	Start  uint64
}

// Follow reads a stream message by message, in order and without gaps, however
// often the connection is lost. Once it has told all that was there when it
// began, it calls fn with nil. It ends with fn's error, with the cause of ctx, or
// with Unavailable if the stream cannot be read at the start or the connection
// was closed.
func Follow(ctx context.Context, js jetstream.JetStream, stream string, from From, fn func(jetstream.Msg) error) error {
	r := reader{js: js, stream: stream, from: from, fn: fn}
	for {
		err := r.read(ctx)
		switch {
		case r.failed != nil:
			return r.failed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !r.begun, js.Conn().IsClosed():
			return droveway.Errorf(droveway.Unavailable, "read stream %s: %w", stream, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

// reader is what Follow knows from one connection to the next.
type reader struct {
	js     jetstream.JetStream
	stream string
	from   From
	fn     func(jetstream.Msg) error

	begun  bool   // it could be read once
	last   uint64 // sequence of the last message told
	synced bool   // nil was told
	failed error  // of fn
}

// read reads until something breaks. The server's side of a reader does not
// outlive the connection with certainty, and what was under way is lost, so after
// each connection there is a new one, which begins after the last message told.
func (r *reader) read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := r.js.Conn().StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer r.js.Conn().RemoveStatusListener(changed) // closes it
	go func() {
		<-changed
		cancel()
	}()
	cons, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer r.close(ctx, cons)
	msgs, err := cons.Messages(jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	pending := cons.CachedInfo().NumPending
	if pending == 0 {
		r.sync()
	}
	for told := uint64(1); r.failed == nil; told++ {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := r.tell(m, told, pending); err != nil {
			return err
		}
	}
	return r.failed
}

func (r *reader) open(ctx context.Context) (jetstream.Consumer, error) {
	cfg := jetstream.ConsumerConfig{
		FilterSubjects:    r.from.Subjects,
		DeliverPolicy:     r.from.Policy,
		OptStartSeq:       r.from.Start,
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerLife,
	}
	if r.last > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.last+1
	}
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	cons, err := r.js.CreateConsumer(ctx, r.stream, cfg)
	if err == nil {
		r.begun = true
	}
	return cons, err
}

// close frees the server's side at once; otherwise it does so after readerLife.
func (r *reader) close(ctx context.Context, cons jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followAgain)
	defer cancel()
	_ = r.js.DeleteConsumer(ctx, r.stream, cons.CachedInfo().Name)
}

var errGap = errors.New("a message was lost on the way")

// tell passes on the told-th message of this connection.
func (r *reader) tell(m jetstream.Msg, told, pending uint64) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != told {
		return errGap
	}
	r.last = meta.Sequence.Stream
	if r.failed = r.fn(m); r.failed != nil {
		return r.failed
	}
	if told >= pending || meta.NumPending == 0 {
		r.sync()
	}
	return nil
}

// sync tells, once, that everything present was told.
func (r *reader) sync() {
	if !r.synced && r.failed == nil {
		r.synced = true
		r.failed = r.fn(nil)
	}
}
