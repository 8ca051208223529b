package store

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// Table is the objects of one type, under one prefix of a bucket. Its methods
// may be called at the same time. Errors are of kind NotFound, Exists, Conflict,
// Invalid (a name or a value that cannot be stored), Unavailable (the bus) or
// Internal (a value that cannot be read).
type Table[T any] struct {
	kv     jetstream.KeyValue
	prefix string
}

// NewTable makes a table whose objects have the keys prefix.name. The prefix is
// one or more tokens of letters, digits, - and _ with dots between; a name may
// hold any characters.
func NewTable[T any](kv jetstream.KeyValue, prefix string) Table[T] {
	return Table[T]{kv: kv, prefix: prefix}
}

func (t Table[T]) key(name string) string { return t.prefix + "." + encodeName(name) }

// all is the pattern of the table's keys.
func (t Table[T]) all() string { return t.prefix + ".*" }

func (t Table[T]) name(key string) string {
	return decodeName(strings.TrimPrefix(key, t.prefix+"."))
}

// Get reads an object and its revision, which Put takes.
func (t Table[T]) Get(ctx context.Context, name string) (v T, rev uint64, err error) {
	if name == "" {
		return v, 0, droveway.Errorf(droveway.NotFound, "no name given: say which %s", t.prefix)
	}
	e, err := t.kv.Get(ctx, t.key(name))
	if err != nil {
		return v, 0, t.explain("read", name, err)
	}
	if err := json.Unmarshal(e.Value(), &v); err != nil {
		return v, 0, t.unreadable(name, err)
	}
	return v, e.Revision(), nil
}

// List reads all objects, sorted by key. In a cluster it may lag behind Get and
// Put by a moment.
func (t Table[T]) List(ctx context.Context) ([]T, error) {
	w, err := t.kv.Watch(ctx, t.all(), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "list %s: %w", t.all(), err)
	}
	defer stop(w)
	var entries []jetstream.KeyValueEntry
	for {
		e, err := next(ctx, w)
		if err != nil {
			return nil, droveway.Errorf(droveway.Unavailable, "list %s: %w", t.all(), err)
		}
		if e == nil {
			return t.decodeAll(entries)
		}
		entries = append(entries, e)
	}
}

func (t Table[T]) decodeAll(entries []jetstream.KeyValueEntry) ([]T, error) {
	// An object that is written while the list is under way comes twice; the
	// later one counts.
	slices.SortStableFunc(entries, func(a, b jetstream.KeyValueEntry) int {
		return cmp.Or(cmp.Compare(a.Key(), b.Key()), cmp.Compare(b.Revision(), a.Revision()))
	})
	entries = slices.CompactFunc(entries, func(a, b jetstream.KeyValueEntry) bool { return a.Key() == b.Key() })
	values := make([]T, len(entries))
	for i, e := range entries {
		if err := json.Unmarshal(e.Value(), &values[i]); err != nil {
			return nil, t.unreadable(t.name(e.Key()), err)
		}
	}
	return values, nil
}

// Create writes an object that must not be there: Exists if it is.
func (t Table[T]) Create(ctx context.Context, name string, v T) error {
	_, err := t.Put(ctx, name, v, 0)
	if droveway.Is(err, droveway.Conflict) {
		return droveway.Errorf(droveway.Exists, "%s %q is there already: choose another name", t.prefix, name)
	}
	return err
}

// Put writes an object that is still at the revision rev, and gives its new
// revision: Conflict if somebody wrote it since. Revision 0 says that it must
// not be there.
func (t Table[T]) Put(ctx context.Context, name string, v T, rev uint64) (uint64, error) {
	if name == "" {
		return 0, droveway.Errorf(droveway.Invalid, "write %s: it has no name", t.prefix)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return 0, droveway.Errorf(droveway.Invalid, "write %s %q: %w", t.prefix, name, err)
	}
	if rev == 0 {
		rev, err = t.kv.Create(ctx, t.key(name), b)
	} else {
		rev, err = t.kv.Update(ctx, t.key(name), b, rev)
	}
	if err != nil {
		return 0, t.explain("write", name, err)
	}
	return rev, nil
}

// Update reads an object, lets fn change it, and writes it, again from the
// start if somebody else wrote in between: fn may be called several times. An
// error of fn ends it and is returned as it is.
func (t Table[T]) Update(ctx context.Context, name string, fn func(*T) error) (T, error) {
	for {
		v, rev, err := t.Get(ctx, name)
		if err != nil {
			return v, err
		}
		if err := fn(&v); err != nil {
			return v, err
		}
		_, err = t.Put(ctx, name, v, rev)
		if !droveway.Is(err, droveway.Conflict) {
			return v, err
		}
		if ctx.Err() != nil {
			return v, t.explain("write", name, context.Cause(ctx))
		}
	}
}

// Delete removes an object: NotFound if it is not there.
func (t Table[T]) Delete(ctx context.Context, name string) error {
	for {
		// Not by Get: an object that cannot be read can be deleted all the same.
		e, err := t.kv.Get(ctx, t.key(name))
		if err != nil {
			return t.explain("delete", name, err)
		}
		err = t.kv.Delete(ctx, t.key(name), jetstream.LastRevision(e.Revision()))
		if err == nil {
			return nil
		}
		if !stale(err) || ctx.Err() != nil {
			return t.explain("delete", name, err)
		}
	}
}
