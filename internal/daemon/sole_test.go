package daemon_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/daemon"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/lease"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/engine/store"
)

// external is a bus of its own for servers, of whose data directory copies can be
// made, as a restored backup is one.
type external struct {
	t         *testing.T
	url       string
	original  string
	authority *pki.Authority
	over      chan error // of the last server
}

func newExternal(t *testing.T) *external {
	t.Helper()
	e := &external{t: t, original: t.TempDir()}
	var err error
	e.authority, err = pki.Open(filepath.Join(e.original, "pki"))
	must(t, err)
	text, err := bus.ExternalConfig(filepath.Join(e.original, "bus"), e.authority)
	must(t, err)
	o := bustest.Options(t, text)
	o.StoreDir = t.TempDir()
	e.url = "tls://" + bustest.Serve(t, o).Addr().String()
	return e
}

// serve runs a server on a copy of the data. It is ready, or has ended with an error.
func (e *external) serve() (stop func() error, err error) {
	e.t.Helper()
	cfg := daemon.ServerConfig{Data: e.t.TempDir(), Listen: "127.0.0.1:0", NATS: e.url, NATSSeed: bus.SeedFile(filepath.Join(e.original, "bus")), Log: bustest.Log()}
	must(e.t, os.CopyFS(cfg.Data, os.DirFS(e.original)))
	ready, ended := make(chan struct{}), make(chan error, 1)
	cfg.Ready = func(string, string) { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- daemon.Server(ctx, cfg) }()
	stop = func() error { cancel(); return <-ended }
	e.over = ended
	select {
	case <-ready:
		return stop, nil
	case err := <-ended:
		cancel()
		return nil, err
	case <-time.After(40 * time.Second):
		e.t.Fatalf("the server does not become ready: %v", stop())
		return nil, nil
	}
}

// ended waits for the last server to end by itself.
func (e *external) ended(stop func() error) error {
	e.t.Helper()
	select {
	case err := <-e.over:
		e.over <- nil
		_ = stop() // nothing but the context
		return err
	case <-time.After(20 * time.Second):
		e.t.Fatalf("the server does not end by itself: %v", stop())
		return nil
	}
}

// leases are those of the bus.
func (e *external) leases() *lease.Leases {
	e.t.Helper()
	b := bustest.Run(e.t, bus.ServerConfig{
		Dir: e.t.TempDir(), External: e.url, ExternalSeed: bus.SeedFile(filepath.Join(e.original, "bus")), PKI: e.authority, Log: bustest.Log(),
	})
	c := b.Conn(e.t)
	s, err := store.Buckets(e.t.Context(), c.JS)
	must(e.t, err)
	return lease.New(s.Leases, c.JS)
}

// Two servers on one bus could give one address to two machines: the second one is
// refused, until the first has ended.
func TestOneServerOnABus(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	stop, err := e.serve()
	must(t, err)
	_, err = e.serve()
	wantKind(t, err, droveway.Conflict)
	if err == nil || !strings.Contains(err.Error(), "a bus has one server at a time; stop that one first") {
		t.Errorf("the second server: %v", err)
	}
	must(t, stop())
	begun := time.Now()
	stop, err = e.serve()
	must(t, err)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the next server took %s: it waited for a lease that was given back", took)
	}
	must(t, stop())
}

// A server that was killed has left its lease: the next one waits until it has run
// out. A server that finds another one in its place ends.
func TestServerAfterAKill(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	leases := e.leases()
	_, err := leases.Acquire(t.Context(), "server.only", "a killed server", 2*time.Second)
	must(t, err)
	stop, err := e.serve()
	must(t, err)
	other, err := leases.Claim(t.Context(), "server.only", "another server", 30*time.Second)
	must(t, err)
	defer func() { must(t, other.Release(context.WithoutCancel(t.Context()))) }()
	err = e.ended(stop)
	wantKind(t, err, droveway.Conflict)
	if err == nil || !strings.Contains(err.Error(), "another server took over") || !strings.Contains(err.Error(), "held by another server") {
		t.Errorf("the server ended with %v", err)
	}
}
