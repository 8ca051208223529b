// Package bustest runs a bus for the length of a test: a real one, with its own
// authority, identities and streams in a temporary directory.
package bustest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/pki"
)

const patience = 20 * time.Second

// Bus is a bus under test.
type Bus struct {
	*bus.Server
	CA []byte
	// Stop ends the bus and waits until it has ended. The end of the test does
	// so too.
	Stop func()
}

// Start runs a bus in a temporary directory.
func Start(t testing.TB) *Bus {
	t.Helper()
	return StartIn(t, t.TempDir(), "127.0.0.1:0")
}

// StartIn runs a bus in a directory, where an earlier one may have been, on an
// address.
func StartIn(t testing.TB, dir, listen string) *Bus {
	t.Helper()
	authority, err := pki.Open(dir + "/pki")
	if err != nil {
		t.Fatal(err)
	}
	return Run(t, bus.ServerConfig{Dir: dir + "/bus", Listen: listen, PKI: authority, Log: Log()})
}

// Run runs a bus as it is configured.
func Run(t testing.TB, cfg bus.ServerConfig) *Bus {
	t.Helper()
	s, err := bus.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b := &Bus{Server: s, CA: cfg.PKI.CA(), Stop: cancel}
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatalf("the bus did not start: %v", err)
	case <-time.After(patience):
		t.Fatal("the bus does not get ready")
	}
	gone := make(chan struct{})
	go func() { defer close(gone); <-ended }()
	b.Stop = func() { cancel(); <-gone }
	t.Cleanup(b.Stop)
	return b
}

// Conn connects the server's side until the test ends.
func (b *Bus) Conn(t testing.TB) *bus.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := b.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Credentials makes the credentials of a host.
func (b *Bus) Credentials(t testing.TB, host string) bus.Credentials {
	t.Helper()
	return b.credentials(t, bus.Credentials{Name: host}, b.HostCredentials)
}

func (b *Bus) credentials(t testing.TB, c bus.Credentials, sign func(name, nkey string) (string, error)) bus.Credentials {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	c.JWT, err = sign(c.Name, public)
	if err != nil {
		t.Fatal(err)
	}
	c.URL, c.Seed, c.CA = b.URL(), string(seed), b.CA
	return c
}

// Host connects a host until the test ends.
func (b *Bus) Host(t testing.TB, host string) *bus.Conn {
	t.Helper()
	return b.dial(t, b.Credentials(t, host))
}

// Probe connects the probe of a host until the test ends.
func (b *Bus) Probe(t testing.TB, host string) *bus.Conn {
	t.Helper()
	return b.dial(t, b.credentials(t, bus.Credentials{Name: host, Role: bus.RoleProbe}, b.ProbeCredentials))
}

func (b *Bus) dial(t testing.TB, cred bus.Credentials) *bus.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := bus.Dial(ctx, cred, Log())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Connect starts a bus and connects the server's side of it.
func Connect(t testing.TB) *bus.Conn {
	t.Helper()
	return Start(t).Conn(t)
}

// Log is a log that says nothing.
func Log() *slog.Logger { return slog.New(slog.DiscardHandler) }
