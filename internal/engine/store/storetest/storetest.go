// Package storetest is what every bucket must do for a Table to keep its
// promises, whatever serves it: an embedded bus, an external one, a cluster.
//
// It writes into the bucket it is given, below the prefix "test".
package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

const patience = 20 * time.Second

type object struct {
	Name string `json:"name"`
	Host string `json:"host"`
	N    int    `json:"n"`
}

type suite struct {
	kv     jetstream.KeyValue
	prefix string
	table  store.Table[object]
}

// Run checks a bucket.
func Run(t *testing.T, kv jetstream.KeyValue) {
	for name, check := range map[string]func(*testing.T, context.Context, suite){
		"create, read, delete": life,
		"compare and set":      compareAndSet,
		"concurrent updates":   updates,
		"list":                 list,
		"names":                names,
		"neighbours":           neighbours,
		"watch":                watch,
		"watch one":            watchOne,
		"damage":               damage,
		"end of a context":     ends,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			prefix := "test." + strings.NewReplacer(" ", "-", ",", "").Replace(name)
			check(t, ctx, suite{kv, prefix, store.NewTable[object](kv, prefix)})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err error, kind droveway.Kind) {
	t.Helper()
	if droveway.KindOf(err) != kind {
		t.Errorf("error %v of kind %q, want %q", err, droveway.KindOf(err), kind)
	}
}

func life(t *testing.T, ctx context.Context, s suite) {
	_, _, err := s.table.Get(ctx, "web-1")
	want(t, err, droveway.NotFound)
	want(t, s.table.Delete(ctx, "web-1"), droveway.NotFound)

	must(t, s.table.Create(ctx, "web-1", object{Name: "web-1", Host: "a"}))
	want(t, s.table.Create(ctx, "web-1", object{}), droveway.Exists)
	got, rev, err := s.table.Get(ctx, "web-1")
	must(t, err)
	if got.Host != "a" || rev == 0 {
		t.Errorf("read %+v at revision %d", got, rev)
	}
	must(t, s.table.Delete(ctx, "web-1"))
	_, _, err = s.table.Get(ctx, "web-1")
	want(t, err, droveway.NotFound)
	must(t, s.table.Create(ctx, "web-1", object{Name: "web-1", Host: "b"}))
	_, again, err := s.table.Get(ctx, "web-1")
	must(t, err)
	if again <= rev {
		t.Errorf("revision %d after %d: it must grow, also over a deletion", again, rev)
	}
}

func compareAndSet(t *testing.T, ctx context.Context, s suite) {
	rev, err := s.table.Put(ctx, "web-1", object{N: 1}, 0)
	must(t, err)
	_, err = s.table.Put(ctx, "web-1", object{N: 2}, 0)
	want(t, err, droveway.Conflict)
	next, err := s.table.Put(ctx, "web-1", object{N: 2}, rev)
	must(t, err)
	_, err = s.table.Put(ctx, "web-1", object{N: 3}, rev)
	want(t, err, droveway.Conflict)
	_, err = s.table.Put(ctx, "web-1", object{N: 3}, next+7)
	want(t, err, droveway.Conflict)
	got, at, err := s.table.Get(ctx, "web-1")
	must(t, err)
	if got.N != 2 || at != next {
		t.Errorf("read %d at %d, want 2 at %d", got.N, at, next)
	}
}

// updates has several writers count one number up.
func updates(t *testing.T, ctx context.Context, s suite) {
	must(t, s.table.Create(ctx, "web-1", object{}))
	const writers, each = 4, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				if _, err := s.table.Update(ctx, "web-1", func(o *object) error { o.N++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got, _, err := s.table.Get(ctx, "web-1")
	must(t, err)
	if got.N != writers*each {
		t.Errorf("counted to %d, want %d", got.N, writers*each)
	}
	stop := errors.New("stop")
	if _, err := s.table.Update(ctx, "web-1", func(*object) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of fn became %v", err)
	}
	_, err = s.table.Update(ctx, "web-2", func(*object) error { return nil })
	want(t, err, droveway.NotFound)
}

func list(t *testing.T, ctx context.Context, s suite) {
	got, err := s.table.List(ctx)
	must(t, err)
	if got == nil || len(got) != 0 {
		t.Errorf("an empty table lists %#v", got)
	}
	for _, n := range []string{"c", "a", "b", "gone"} {
		must(t, s.table.Create(ctx, n, object{Name: n}))
	}
	must(t, s.table.Delete(ctx, "gone"))
	_, err = s.table.Update(ctx, "a", func(o *object) error { o.N = 1; return nil })
	must(t, err)
	lists(t, ctx, s, object{Name: "a", N: 1}, object{Name: "b"}, object{Name: "c"})
}

// lists waits for a list to be what is wanted: it may lag behind.
func lists(t *testing.T, ctx context.Context, s suite, want ...object) {
	t.Helper()
	for {
		got, err := s.table.List(ctx)
		must(t, err)
		d := cmp.Diff(want, got)
		if d == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(d)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func names(t *testing.T, ctx context.Context, s suite) {
	all := []string{"web-1.root", "host/a", "*", ">", "ä b", "=2E", "a=", "UPPER_lower", "\x00"}
	for i, n := range all {
		must(t, s.table.Create(ctx, n, object{Name: n, N: i}))
	}
	seen := map[string]int{}
	done := errors.New("done")
	err := s.table.Watch(ctx, func(c store.Change[object]) error {
		if c.Synced {
			return nil
		}
		seen[c.Name] = c.Value.N
		if len(seen) == len(all) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	for i, n := range all {
		if got, ok := seen[n]; !ok || got != i {
			t.Errorf("%q came back as %d, %t", n, got, ok)
		}
	}
	want(t, s.table.Create(ctx, "", object{}), droveway.Invalid)
	_, _, err = s.table.Get(ctx, "")
	want(t, err, droveway.NotFound)
}

// neighbours has tables whose prefixes begin alike keep apart.
func neighbours(t *testing.T, ctx context.Context, s suite) {
	longer := store.NewTable[int](s.kv, s.prefix+".disk")
	other := store.NewTable[int](s.kv, s.prefix+"s")
	must(t, longer.Create(ctx, "x", 1))
	must(t, other.Create(ctx, "x", 1))
	must(t, s.table.Create(ctx, "x", object{Name: "x"}))
	lists(t, ctx, s, object{Name: "x"})
}

func watch(t *testing.T, ctx context.Context, s suite) {
	must(t, s.table.Create(ctx, "old", object{N: 1}))
	var seen []store.Change[object]
	synced := 0
	done := errors.New("done")
	err := s.table.Watch(ctx, func(c store.Change[object]) error {
		if c.Synced {
			synced++
			must(t, s.table.Create(ctx, "new", object{N: 2}))
			_, err := s.table.Update(ctx, "old", func(o *object) error { o.N = 3; return nil })
			must(t, err)
			return s.table.Delete(ctx, "old")
		}
		if c.Value.N != 3 { // which may be told, or be overtaken
			seen = append(seen, c)
		}
		if c.Deleted {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) || synced != 1 {
		t.Fatalf("synced %d times: %v", synced, err)
	}
	if d := cmp.Diff([]store.Change[object]{
		{Name: "old", Value: object{N: 1}},
		{Name: "new", Value: object{N: 2}},
		{Name: "old", Deleted: true},
	}, seen); d != "" {
		t.Error(d)
	}
}

func watchOne(t *testing.T, ctx context.Context, s suite) {
	must(t, s.table.Create(ctx, "a", object{N: 1}))
	must(t, s.table.Create(ctx, "b", object{N: 2}))
	done := errors.New("done")
	err := s.table.WatchOne(ctx, "b", func(c store.Change[object]) error {
		if c.Synced {
			return nil
		}
		if c.Name != "b" {
			t.Errorf("told of %q", c.Name)
		}
		return done
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
}

// damage is a value that cannot be read. It must be named, and be removable.
func damage(t *testing.T, ctx context.Context, s suite) {
	_, err := s.kv.Put(ctx, s.prefix+".bad", []byte("{"))
	must(t, err)
	_, _, err = s.table.Get(ctx, "bad")
	want(t, err, droveway.Internal)
	_, err = s.table.List(ctx)
	want(t, err, droveway.Internal)
	must(t, s.table.Delete(ctx, "bad"))
	want(t, store.NewTable[any](s.kv, "x").Create(ctx, "y", func() {}), droveway.Invalid)
}

// ends has a watch end with its context, though nobody reads what is under way.
func ends(t *testing.T, ctx context.Context, s suite) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(ctx)
	err := s.table.Watch(ctx, func(c store.Change[object]) error {
		cancel(cause)
		return nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
}
