package bus_test

import (
	"context"
	"encoding/json"
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/store"
)

func TestExternal(t *testing.T) {
	t.Parallel()
	e := bustest.StartExternal(t, 1)
	c := e.Conn(t)
	ctx := within(t, 25*time.Second)
	s, err := store.Buckets(ctx, c.JS)
	if err != nil {
		t.Fatal(err)
	}
	a := e.Host(t, "a")
	serve(t, a, "a", map[string]bus.Handler{
		"ping": func(context.Context, json.RawMessage) (any, error) { return "pong", nil },
	})
	if err := call(t, c, "a", "ping", nil, nil); err != nil {
		t.Error(err)
	}
	refused(t, e.Host(t, "a"), func(nc *nats.Conn) error { return nc.Publish("$KV.observed.b.host", nil) })

	// The bus goes away and comes back: both sides, a watch and a reader of
	// events go on by themselves.
	machines := store.NewTable[int](s.Objects, "machine")
	watched, heard := make(chan int, 100), make(chan string, 100)
	go func() {
		_ = machines.Watch(ctx, func(c store.Change[int]) error { watched <- c.Value; return nil })
	}()
	for _, id := range []string{"1", "2"} {
		if err := c.Publish(ctx, droveway.Event{ID: id, Type: "x", Source: "server"}); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		_ = c.Events(ctx, 1, func(_ uint64, e droveway.Event) error { heard <- e.ID; return nil })
	}()
	<-watched // synced
	<-heard
	e.Servers[0].Shutdown()
	e.Servers[0].WaitForShutdown()
	if err := c.Call(within(t, time.Second), "a", "ping", nil, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("call without a bus: %v, want unavailable", err)
	}
	e.Restart(t, 0)
	if err := call(t, c, "a", "ping", nil, nil); err != nil {
		t.Errorf("after the return: %v", err)
	}
	if err := machines.Create(ctx, "web-1", 7); err != nil {
		t.Error(err)
	}
	if err := c.Publish(ctx, droveway.Event{ID: "3", Type: "x", Source: "server"}); err != nil {
		t.Error(err)
	}
	for range 2 {
		select {
		case v := <-watched:
			if v != 7 {
				t.Errorf("watched %d", v)
			}
		case id := <-heard:
			if id != "3" {
				t.Errorf("heard %s", id)
			}
		case <-ctx.Done():
			t.Fatal("watch or events did not go on")
		}
	}
}

// What is acknowledged is on disk, and the server stays small: embedded and
// external servers have one configuration.
func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := bus.ExternalConfig(dir+"/bus", authority(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	o := bustest.Options(t, text)
	if !o.SyncAlways || o.JetStreamMaxMemory != 16<<20 || o.TLSConfig == nil || len(o.TrustedOperators) != 1 {
		t.Errorf("sync %t, memory %d, TLS %v, %d operators", o.SyncAlways, o.JetStreamMaxMemory, o.TLSConfig, len(o.TrustedOperators))
	}
}

func TestExternalWithoutJetStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := bus.ExternalConfig(dir+"/bus", authority(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	o := bustest.Options(t, regexp.MustCompile(`(?s)jetstream \{.*?\n\}`).ReplaceAllString(text, ""))
	ns := bustest.Serve(t, o)
	s, err := bus.NewServer(bus.ServerConfig{
		Dir: dir + "/bus", PKI: authority(t, dir), Log: bustest.Log(), External: "tls://" + ns.Addr().String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(within(t, 10*time.Second)); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("Run: %v, want unsupported", err)
	}
	if _, err := s.Connect(t.Context()); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("Connect: %v, want unavailable", err)
	}
}

// An external bus that trusts another operator refuses ours.
func TestExternalOfOthers(t *testing.T) {
	t.Parallel()
	e := bustest.StartExternal(t, 1)
	dir := t.TempDir()
	a := authority(t, dir)
	s, err := bus.NewServer(bus.ServerConfig{Dir: dir, PKI: a, Log: bustest.Log(), External: e.URL()})
	if err != nil {
		t.Fatal(err)
	}
	// Another authority, too: it is never sure that it speaks with a bus of ours.
	ctx := within(t, time.Second)
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	select {
	case <-s.Ready():
		t.Error("it is ready")
	default:
	}
}
