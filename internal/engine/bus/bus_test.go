package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
)

// serve answers commands for a host until the test ends.
func serve(t *testing.T, c *bus.Conn, host string, handlers map[string]bus.Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Serve(ctx, host, handlers) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// call calls until the host is there: Serve subscribes a moment after it began.
func call(t *testing.T, c *bus.Conn, host, verb string, in, out any) error {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := c.Call(ctx, host, verb, in, out)
		cancel()
		if !droveway.Is(err, droveway.Unavailable) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

type text struct{ Text string }

func TestCall(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	serve(t, b.Host(t, "a"), "a", map[string]bus.Handler{
		"move.echo": func(_ context.Context, in json.RawMessage) (any, error) {
			var s text
			err := json.Unmarshal(in, &s)
			return s, err
		},
		"conflict": func(context.Context, json.RawMessage) (any, error) {
			return nil, droveway.Errorf(droveway.Conflict, "web-1 runs: stop it first")
		},
		"missing": func(context.Context, json.RawMessage) (any, error) {
			return nil, droveway.Missing("kvm", "no KVM here")
		},
		"plain": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("broken") },
		"panic": func(context.Context, json.RawMessage) (any, error) { panic("oh no") },
		"huge":  func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", 2<<20), nil },
	})
	c := b.Conn(t)

	var out text
	if err := call(t, c, "a", "move.echo", text{"hello"}, &out); err != nil || out.Text != "hello" {
		t.Fatalf("echo: %q, %v", out.Text, err)
	}
	for verb, want := range map[string]droveway.Error{
		"conflict": {Kind: droveway.Conflict, Message: "web-1 runs: stop it first"},
		"missing":  {Kind: droveway.Unsupported, Message: "no KVM here", Feature: "kvm"},
		"plain":    {Kind: droveway.Internal, Message: "broken"},
		"panic":    {Kind: droveway.Internal, Message: "command panic failed by a defect; the host's log says more"},
		"huge":     {Kind: droveway.Internal, Message: "the answer is larger than the bus carries"},
		"unknown":  {Kind: droveway.Unsupported, Message: "the host does not know the command unknown: update it", Feature: "unknown"},
	} {
		t.Run(verb, func(t *testing.T) {
			got, ok := errors.AsType[*droveway.Error](c.Call(t.Context(), "a", verb, nil, nil))
			if !ok {
				t.Fatal("no error")
			}
			if d := cmp.Diff(want, *got, cmpopts.IgnoreUnexported(droveway.Error{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCallNobody(t *testing.T) {
	t.Parallel()
	c := bustest.Connect(t)
	begun := time.Now()
	err := c.Call(within(t, 10*time.Second), "ghost", "show", nil, nil)
	if !droveway.Is(err, droveway.Unavailable) || time.Since(begun) > 5*time.Second {
		t.Errorf("after %s: %v, want unavailable at once", time.Since(begun), err)
	}
}

func TestCallDeadline(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	serve(t, b.Host(t, "a"), "a", map[string]bus.Handler{
		"ping": func(context.Context, json.RawMessage) (any, error) { return nil, nil },
		"hang": func(ctx context.Context, _ json.RawMessage) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
	})
	c := b.Conn(t)
	if err := call(t, c, "a", "ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(within(t, 50*time.Millisecond), "a", "hang", nil, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("past its deadline: %v, want unavailable", err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := c.Call(ctx, "a", "hang", nil, nil); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v, want the cause", err)
	}
}

// The server ends and comes back: the host's commands go on without its doing,
// and its identity holds.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bustest.StartIn(t, dir, "127.0.0.1:0")
	a := b.Host(t, "a")
	serve(t, a, "a", map[string]bus.Handler{
		"ping": func(context.Context, json.RawMessage) (any, error) { return "pong", nil },
	})
	if err := call(t, b.Conn(t), "a", "ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	listen := strings.TrimPrefix(b.URL(), "tls://")
	b.Stop()
	if err := a.Publish(within(t, time.Second), droveway.Event{Source: "host/a", Type: "x"}); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("publish without a server: %v, want unavailable", err)
	}
	b = bustest.StartIn(t, dir, listen)
	if err := call(t, b.Conn(t), "a", "ping", nil, nil); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestSeedsArePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bustest.StartIn(t, dir, "127.0.0.1:0")
	for _, name := range []string{"operator.seed", "account.seed", "system.seed", "server-key.pem"} {
		info, err := os.Stat(filepath.Join(dir, "bus", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, info.Mode().Perm())
		}
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	dir := t.TempDir()
	s, err := bus.NewServer(bus.ServerConfig{
		Dir: dir, Listen: strings.TrimPrefix(b.URL(), "tls://"), PKI: authority(t, dir), Log: bustest.Log(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(within(t, 10*time.Second)); !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Run: %v, want unavailable: address in use", err)
	}
	if _, err := s.Connect(t.Context()); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("Connect: %v, want unavailable", err)
	}
}

func TestAdvertise(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := bus.NewServer(bus.ServerConfig{
		Dir: dir, Listen: "0.0.0.0:4222", Advertise: []string{"droveway.example", "10.0.0.1:5222", "fd00::1"},
		PKI: authority(t, dir), Log: bustest.Log(),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "tls://droveway.example:4222,tls://10.0.0.1:5222,tls://[fd00::1]:4222"
	if got := s.URL(); got != want {
		t.Errorf("URL = %s, want %s", got, want)
	}
}

func TestInvalidHostCredentials(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for _, c := range []struct{ host, key string }{
		{"a.b", "UAAA"}, {"*", "UAAA"}, {"", "UAAA"}, {"a", ""}, {"a", "UAAA"},
	} {
		if _, err := b.HostCredentials(c.host, c.key); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("host %q, key %q: %v, want invalid", c.host, c.key, err)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c, a := b.Conn(t), b.Host(t, "a")
	ctx := within(t, 15*time.Second)
	publish := func(by *bus.Conn, e droveway.Event) {
		t.Helper()
		if err := by.Publish(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	publish(c, droveway.Event{ID: "1", Type: "machine.placed", Subject: "machine/web-1", Source: "server"})
	publish(a, droveway.Event{ID: "2", Type: "machine.running", Subject: "machine/web-1", Source: "host/a"})

	// What host a says in the name of the server, on a subject of its own.
	forged, err := json.Marshal(droveway.Event{ID: "3", Type: "machine.removed", Source: "server"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.JS.Publish(ctx, "event.host.a.machine.removed", forged); err != nil {
		t.Fatal(err)
	}
	publish(c, droveway.Event{ID: "4", Type: "machine.stopped", Subject: "machine/web-1", Source: "server"})

	var ids []string
	var seqs []uint64
	enough := errors.New("enough")
	err = c.Events(ctx, 0, func(seq uint64, e droveway.Event) error {
		if e.Time.IsZero() {
			t.Errorf("event %s has no time", e.ID)
		}
		ids, seqs = append(ids, e.ID), append(seqs, seq)
		if e.ID == "4" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"1", "2", "4"}, ids); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]uint64{1, 2, 4}, seqs); d != "" {
		t.Error(d)
	}
	if err := c.Publish(ctx, droveway.Event{Type: "x"}); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("no source: %v, want invalid", err)
	}
}

func TestEventsFromNow(t *testing.T) {
	t.Parallel()
	t.Run("none before", func(t *testing.T) { t.Parallel(); eventsFromNow(t, math.MaxUint64) })
	// A number from a stream that was lost since.
	t.Run("far ahead", func(t *testing.T) { t.Parallel(); eventsFromNow(t, 1<<40) })
}

func eventsFromNow(t *testing.T, since uint64) {
	c := bustest.Connect(t)
	ctx, cancel := context.WithCancelCause(within(t, 15*time.Second))
	if err := c.Publish(ctx, droveway.Event{ID: "old", Type: "x", Source: "server"}); err != nil {
		t.Fatal(err)
	}
	var publishing sync.WaitGroup
	defer publishing.Wait()
	enough := errors.New("enough")
	publishing.Go(func() { // until one is seen: the reader begins at a time of its own
		for ctx.Err() == nil {
			_ = c.Publish(ctx, droveway.Event{Type: "new", Source: "server"})
			time.Sleep(5 * time.Millisecond)
		}
	})
	err := c.Events(ctx, since, func(_ uint64, e droveway.Event) error {
		if e.ID == "old" {
			t.Error("an old event came")
		}
		cancel(enough)
		return enough
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

// The streams are on disk and within their bounds.
func TestJetStreamLimits(t *testing.T) {
	t.Parallel()
	c := bustest.Connect(t)
	s, err := c.JS.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if cfg.MaxMsgs != 100_000 || cfg.MaxAge != 30*24*time.Hour || cfg.Storage.String() != "File" {
		t.Errorf("EVENTS: %d messages, %s, %s", cfg.MaxMsgs, cfg.MaxAge, cfg.Storage)
	}
}
