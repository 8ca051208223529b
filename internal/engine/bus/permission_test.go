package bus_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/engine/store"
)

func authority(t *testing.T, dir string) *pki.Authority {
	t.Helper()
	a, err := pki.Open(dir + "/pki")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Host a writes its own keys and lease, answers its own commands, and can do
// nothing to host b or the tables.
func TestHostPermissions(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c := b.Conn(t)
	ctx := within(t, 15*time.Second)
	s, err := store.Buckets(ctx, c.JS)
	if err != nil {
		t.Fatal(err)
	}
	a := b.Host(t, "a")

	t.Run("own", func(t *testing.T) {
		if _, err := a.JS.Publish(ctx, "$KV.observed.a.host", []byte(`"fine"`)); err != nil {
			t.Error(err)
		}
		v, _, err := store.NewTable[string](s.Observed, "a").Get(ctx, "host")
		if err != nil || v != "fine" {
			t.Errorf("the server reads %q, %v", v, err)
		}
		l, err := lease.New(nil, a.JS).Claim(ctx, "host.a", "a", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Renew(ctx); err != nil {
			t.Error(err)
		}
	})
	for name, publish := range map[string]string{
		"others' observed keys": "$KV.observed.b.host",
		"others' lease":         "$KV.leases.host.b",
		"leases of jobs":        "$KV.leases.job.x",
		"tables":                "$KV.objects.machine.web-1",
		"journals":              "$KV.jobs.job.x",
		"others' events":        "event.host.b.machine.running",
		"the server's events":   "event.server.machine.running",
		"others' commands":      "cmd.b.stop",
		"own commands":          "cmd.a.stop",
		"reading of tables":     "$JS.API.DIRECT.GET.KV_objects.$KV.objects.machine.web-1",
		"deletion of streams":   "$JS.API.STREAM.DELETE.KV_objects",
		"answers to others":     "_INBOX_b.x",
	} {
		t.Run("no "+name, func(t *testing.T) {
			t.Parallel()
			refused(t, b.Host(t, "a"), func(nc *nats.Conn) error { return nc.Publish(publish, []byte("{}")) })
		})
	}
	for name, subject := range map[string]string{
		"others' commands":     "cmd.b.>",
		"all commands":         "cmd.>",
		"tables":               "$KV.>",
		"events":               "event.>",
		"answers to others":    "_INBOX_b.>",
		"answers to everybody": "_INBOX.>",
		"everything":           ">",
	} {
		t.Run("no listening to "+name, func(t *testing.T) {
			t.Parallel()
			refused(t, b.Host(t, "a"), func(nc *nats.Conn) error {
				_, err := nc.Subscribe(subject, func(*nats.Msg) { t.Error("heard something") })
				return err
			})
		})
	}
}

// refused runs do on a connection and waits for the bus to refuse it.
func refused(t *testing.T, c *bus.Conn, do func(*nats.Conn) error) {
	t.Helper()
	nc := c.NC
	errs := make(chan error, 10)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err })
	if err := do(nc); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-errs:
	case <-time.After(5 * time.Second):
		t.Error("the bus let it pass")
	}
}

// A host that pretends to be another hears none of its commands.
func TestServeForAnother(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	serve(t, b.Host(t, "a"), "b", map[string]bus.Handler{
		"stop": func(context.Context, json.RawMessage) (any, error) { t.Error("heard it"); return nil, nil },
	})
	c := b.Conn(t)
	if err := c.Call(within(t, time.Second), "b", "stop", nil, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("%v, want unavailable", err)
	}
}

func TestWrongIdentity(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	stranger := bustest.Start(t) // another fleet
	good := b.Credentials(t, "a")
	foreign := stranger.Credentials(t, "a")
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cred bus.Credentials
		want droveway.Kind
	}{
		"signed by another operator":  {bus.Credentials{URL: good.URL, CA: good.CA, JWT: foreign.JWT, Seed: foreign.Seed, Name: "a"}, droveway.Permission},
		"another's identity":          {bus.Credentials{URL: good.URL, CA: good.CA, JWT: good.JWT, Seed: string(seed), Name: "a"}, droveway.Permission},
		"no identity":                 {bus.Credentials{URL: good.URL, CA: good.CA, Seed: string(seed), Name: "a"}, droveway.Permission},
		"damaged seed":                {bus.Credentials{URL: good.URL, CA: good.CA, JWT: good.JWT, Seed: "SU", Name: "a"}, droveway.Invalid},
		"no authority":                {bus.Credentials{URL: good.URL, JWT: good.JWT, Seed: good.Seed, Name: "a"}, droveway.Invalid},
		"server of another authority": {bus.Credentials{URL: good.URL, CA: foreign.CA, JWT: good.JWT, Seed: good.Seed, Name: "a"}, droveway.Unavailable},
		"nobody there":                {bus.Credentials{URL: "tls://127.0.0.1:1", CA: good.CA, JWT: good.JWT, Seed: good.Seed, Name: "a"}, droveway.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := bus.Dial(within(t, time.Second), c.cred, bustest.Log())
			if err == nil {
				conn.Close()
			}
			if got := droveway.KindOf(err); got != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
