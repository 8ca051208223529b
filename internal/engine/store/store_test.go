package store_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/quick"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/engine/store/storetest"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, c *bus.Conn) *store.Stores {
	t.Helper()
	s, err := store.Buckets(within(t, 20*time.Second), c.JS)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	storetest.Run(t, open(t, bustest.Connect(t)).Objects)
}

// Streams with several replicas answer differently in places.
func TestCluster(t *testing.T) {
	t.Parallel()
	e := bustest.StartExternal(t, 3)
	c := e.Conn(t)
	s := open(t, c)
	info, err := c.JS.Stream(t.Context(), "KV_objects")
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().Config.Replicas; n != 3 {
		t.Errorf("%d replicas in a cluster of three", n)
	}
	storetest.Run(t, s.Objects)
}

// A cluster of two cannot hold three replicas, and has to do with one.
func TestSmallCluster(t *testing.T) {
	t.Parallel()
	c := bustest.StartExternal(t, 2).Conn(t)
	table := store.NewTable[int](open(t, c).Objects, "machine")
	if err := table.Create(within(t, 10*time.Second), "web-1", 1); err != nil {
		t.Error(err)
	}
}

// An acknowledged write outlives the server.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bustest.StartIn(t, dir, "127.0.0.1:0")
	ctx := within(t, 20*time.Second)
	machines := store.NewTable[string](open(t, b.Conn(t)).Objects, "machine")
	if err := machines.Create(ctx, "web-1", "here"); err != nil {
		t.Fatal(err)
	}
	_, rev, err := machines.Get(ctx, "web-1")
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
	b = bustest.StartIn(t, dir, "127.0.0.1:0")
	machines = store.NewTable[string](open(t, b.Conn(t)).Objects, "machine")
	v, got, err := machines.Get(ctx, "web-1")
	if err != nil || v != "here" || got != rev {
		t.Errorf("read %q at %d, %v; want %q at %d", v, got, err, "here", rev)
	}
}

// A host that may write its keys cannot delete those of others by a header.
func TestHostCannotRollUp(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	s := open(t, b.Conn(t))
	ctx := within(t, 20*time.Second)
	hostB := b.Host(t, "b")
	if _, err := hostB.JS.Publish(ctx, "$KV.observed.b.host", []byte("1")); err != nil {
		t.Fatal(err)
	}
	hostA := b.Host(t, "a")
	for _, subject := range []string{"$KV.observed.a.host", "$KV.leases.host.a"} {
		m := nats.NewMsg(subject)
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupAll)
		if _, err := hostA.JS.PublishMsg(ctx, m); err == nil {
			t.Errorf("%s: a roll-up of everything was accepted", subject)
		}
	}
	if _, _, err := store.NewTable[int](s.Observed, "b").Get(ctx, "host"); err != nil {
		t.Errorf("what host b wrote: %v", err)
	}
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	c := bustest.Connect(t)
	table := store.NewTable[json.RawMessage](open(t, c).Objects, "machine")
	err := table.Watch(within(t, 10*time.Second), func(ch store.Change[json.RawMessage]) error {
		c.Close()
		return nil
	})
	if !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("watch: %v, want unavailable", err)
	}
	if err := table.Create(t.Context(), "x", nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("create: %v, want unavailable", err)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	table := store.NewTable[[]byte](open(t, bustest.Connect(t)).Objects, "machine")
	if err := table.Create(t.Context(), "x", make([]byte, 2<<20)); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func TestNameRoundTrip(t *testing.T) {
	t.Parallel()
	same := func(name string) bool { return store.DecodeName(store.EncodeName(name)) == name }
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

// Keys come from the bus, where hosts write: any text must decode to something.
func FuzzDecodeName(f *testing.F) {
	for _, s := range []string{"", "web-1", "web-1=2Eroot", "=", "=2", "=ZZ", "==2E", "a=2Eb=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		name := store.DecodeName(token)
		if got := store.DecodeName(store.EncodeName(name)); got != name {
			t.Errorf("%q decodes to %q, which comes back as %q", token, name, got)
		}
	})
}
