package bus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
)

func public(t *testing.T, c bus.Credentials) string {
	t.Helper()
	pair, err := nkeys.FromSeed([]byte(c.Seed))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A revoked identity is cut off at once and for good; nobody else is.
func TestRevoke(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bustest.StartIn(t, dir, "127.0.0.1:0")
	out := b.Credentials(t, "a")
	conn, err := bus.Dial(within(t, 5*time.Second), out, bustest.Log())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	again, other, server := b.Credentials(t, "a"), b.Host(t, "b"), b.Conn(t)
	for range 2 {
		if err := b.Revoke(public(t, out)); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); conn.NC.IsConnected(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection of the revoked identity lives on")
		}
	}
	shutOut := func() {
		t.Helper()
		if c, err := bus.Dial(within(t, 5*time.Second), out, bustest.Log()); !droveway.Is(err, droveway.Permission) {
			t.Errorf("the revoked identity gets in: %v, %v", c, err)
		}
		c, err := bus.Dial(within(t, 5*time.Second), again, bustest.Log())
		if err != nil {
			t.Fatalf("a host that joined again: %v", err)
		}
		c.Close()
	}
	shutOut()
	if !other.NC.IsConnected() || !server.NC.IsConnected() {
		t.Error("another connection was cut")
	}
	b.Stop()
	b = bustest.StartIn(t, dir, "127.0.0.1:0")
	out.URL, again.URL = b.URL(), b.URL()
	shutOut()
}

func TestRevokeNoKey(t *testing.T) {
	t.Parallel()
	if err := bustest.Start(t).Revoke("a"); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}
