package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// Change is one thing that Watch tells: an object that was written, or deleted,
// or (Synced, without a name) that all present objects have been told.
type Change[T any] struct {
	Name    string
	Value   T
	Deleted bool
	Synced  bool
}

// Watch calls fn for every present object, then once with Synced set, then for
// every change, one after the other. Of several changes of one object in quick
// succession the last is told for certain, the others are not. It ends with fn's error, with the cause of
// ctx, or with an Unavailable error if the connection was closed. A connection
// that is lost and comes back interrupts nothing.
func (t Table[T]) Watch(ctx context.Context, fn func(Change[T]) error) error {
	return t.follow(ctx, t.all(), fn)
}

// WatchOne is Watch for a single object.
func (t Table[T]) WatchOne(ctx context.Context, name string, fn func(Change[T]) error) error {
	return t.follow(ctx, t.key(name), fn)
}

func (t Table[T]) follow(ctx context.Context, pattern string, fn func(Change[T]) error) error {
	f := follower[T]{table: t, fn: fn}
	for {
		err := f.read(ctx, pattern)
		switch {
		case f.failed != nil:
			return f.failed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !f.begun, errors.Is(err, nats.ErrConnectionClosed):
			return droveway.Errorf(droveway.Unavailable, "watch %s: %w", pattern, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

// follower is what a watch knows. The bucket's own watch outlives most losses of
// the connection; where it does not, the next one begins after the last change
// that was told.
type follower[T any] struct {
	table  Table[T]
	fn     func(Change[T]) error
	begun  bool   // it could be read once
	synced bool   // Synced was told
	last   uint64 // revision of the last change told
	failed error  // of fn, or of a value that cannot be read
}

func (f *follower[T]) read(ctx context.Context, pattern string) error {
	var opts []jetstream.WatchOpt
	if f.last > 0 {
		opts = append(opts, jetstream.ResumeFromRevision(f.last+1))
	}
	w, err := f.table.kv.Watch(ctx, pattern, opts...)
	if err != nil {
		return err
	}
	defer stop(w)
	f.begun = true
	for f.failed == nil {
		e, err := next(ctx, w)
		if err != nil {
			return err
		}
		f.failed = f.tell(e)
	}
	return f.failed
}

func (f *follower[T]) tell(e jetstream.KeyValueEntry) error {
	if e == nil && f.synced {
		return nil // told before the connection was lost
	}
	c, err := f.table.change(e)
	if err != nil {
		return err
	}
	if e == nil {
		f.synced = true
	} else {
		f.last = e.Revision()
	}
	return f.fn(c)
}

func (t Table[T]) change(e jetstream.KeyValueEntry) (c Change[T], err error) {
	if e == nil {
		return Change[T]{Synced: true}, nil
	}
	c.Name = t.name(e.Key())
	if e.Operation() != jetstream.KeyValuePut {
		c.Deleted = true
		return c, nil
	}
	if err := json.Unmarshal(e.Value(), &c.Value); err != nil {
		return c, t.unreadable(c.Name, err)
	}
	return c, nil
}

// errEnded says that a watch was ended by the connection's side.
var errEnded = errors.New("the watch was ended")

// next gives the next entry, nil once all present ones were given.
func next(ctx context.Context, w jetstream.KeyWatcher) (jetstream.KeyValueEntry, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case e, ok := <-w.Updates():
		if !ok {
			return nil, errEnded
		}
		return e, nil
	}
}

// stop ends a watch. Entries that are under way are read and dropped: the
// connection's goroutine would wait for a reader for ever.
func stop(w jetstream.KeyWatcher) {
	_ = w.Stop() // fails only if the watch has ended already
	go func() {
		for range w.Updates() { // nothing to do with them
		}
	}()
}
