package bustest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/pki"
)

// External is a number of NATS servers of their own, configured as
// bus.ExternalConfig says, and the bus that uses them.
type External struct {
	*Bus
	Servers []*natsserver.Server
	opts    []*natsserver.Options
}

// StartExternal runs NATS servers, a cluster if there are several, and a bus
// that uses them.
func StartExternal(t testing.TB, servers int) *External {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.Open(dir + "/pki")
	if err != nil {
		t.Fatal(err)
	}
	text, err := bus.ExternalConfig(dir+"/bus", authority)
	if err != nil {
		t.Fatal(err)
	}
	e := &External{}
	routes := freeAddrs(t, servers)
	for i := range servers {
		o := Options(t, text)
		o.ServerName, o.StoreDir = fmt.Sprintf("bus-%d", i+1), fmt.Sprintf("%s/streams-%d", dir, i+1)
		o.Port = port(t, freeAddrs(t, 1)[0])
		if servers > 1 {
			o.Cluster = natsserver.ClusterOpts{Name: "bus", Host: "127.0.0.1", Port: port(t, routes[i])}
			o.Routes = natsserver.RoutesFromStr("nats://" + strings.Join(routes, ",nats://"))
		}
		e.opts = append(e.opts, o)
		e.Servers = append(e.Servers, nil)
		e.Restart(t, i)
	}
	if servers > 1 {
		e.awaitLeader(t)
	}
	e.Bus = Run(t, bus.ServerConfig{
		External: e.urls(), ExternalSeed: bus.SeedFile(dir + "/bus"), PKI: authority, Log: Log(),
	})
	return e
}

// Options reads a configuration, for a server on any free port of this machine.
func Options(t testing.TB, text string) *natsserver.Options {
	t.Helper()
	o := &natsserver.Options{}
	if err := o.ProcessConfigString(text); err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", -1, true, true
	return o
}

// Restart starts a server, anew if it was shut down.
func (e *External) Restart(t testing.TB, i int) {
	t.Helper()
	e.Servers[i] = Serve(t, e.opts[i].Clone())
}

// Serve runs a NATS server until the test ends.
func Serve(t testing.TB, o *natsserver.Options) *natsserver.Server {
	t.Helper()
	s, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not get ready")
	}
	return s
}

func (e *External) urls() string {
	urls := make([]string, len(e.opts))
	for i, o := range e.opts {
		urls[i] = fmt.Sprintf("tls://127.0.0.1:%d", o.Port)
	}
	return strings.Join(urls, ",")
}

// freeAddrs gives addresses that nobody listens on.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func port(t testing.TB, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// awaitLeader waits until a cluster can make streams.
func (e *External) awaitLeader(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, s := range e.Servers {
			if s.JetStreamIsLeader() {
				return
			}
		}
	}
	t.Fatal("the cluster chose no leader")
}
