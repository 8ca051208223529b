package store

import (
	"context"
	"encoding/json"

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
// every change, one after the other. It ends with fn's error, with the cause of
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
	w, err := t.watch(ctx, pattern)
	if err != nil {
		return err
	}
	defer stop(w)
	for {
		e, err := next(ctx, w)
		if err != nil {
			return err
		}
		c, err := t.change(e)
		if err != nil {
			return err
		}
		if err := fn(c); err != nil {
			return err
		}
	}
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

func (t Table[T]) watch(ctx context.Context, pattern string, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	w, err := t.kv.Watch(ctx, pattern, opts...)
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "watch %s: %w", pattern, err)
	}
	return w, nil
}

// next gives the next entry, nil once all present ones were given.
func next(ctx context.Context, w jetstream.KeyWatcher) (jetstream.KeyValueEntry, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case e, ok := <-w.Updates():
		if !ok {
			return nil, closed(ctx)
		}
		return e, nil
	}
}

// closed tells why a watch ended: the bus closes it when ctx ends, too.
func closed(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return droveway.Errorf(droveway.Unavailable, "watch ended: the connection to the bus was closed")
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
