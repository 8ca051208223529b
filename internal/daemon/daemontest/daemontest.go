// Package daemontest runs a whole fleet inside a test: a server with its
// embedded bus, and hosts whose guests are in memory. It touches only the
// directory of the test and ports of the loopback interface.
package daemontest

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/daemon"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

// readyTime is how long a role may take to be ready.
const readyTime = 15 * time.Second

// Fleet is a server and its hosts.
type Fleet struct {
	t       testing.TB
	dir     string
	log     *slog.Logger
	server  *role
	hosts   map[string]*role
	drivers map[string]*mem.Driver // guests live as long as these
	listen  string                 // where the server listened the last time
	bus     string
	change  func(*daemon.ServerConfig) // before each start of the server; may be nil
}

// role is a role that runs.
type role struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(run func(context.Context) error) *role {
	ctx, cancel := context.WithCancel(context.Background())
	r := &role{cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- run(ctx) }()
	return r
}

func (r *role) stop() error {
	r.cancel()
	return <-r.ended
}

// New starts a server and hosts of the given names, and returns when all are
// ready. The log of all is shown if the test fails.
func New(t testing.TB, hosts ...string) *Fleet {
	t.Helper()
	return With(t, nil, hosts...)
}

// With is New with another configuration of the server: change is called before each
// of its starts.
func With(t testing.TB, change func(*daemon.ServerConfig), hosts ...string) *Fleet {
	t.Helper()
	var out lines
	f := &Fleet{
		t: t, dir: t.TempDir(), log: slog.New(slog.NewTextHandler(&out, nil)),
		hosts: map[string]*role{}, drivers: map[string]*mem.Driver{}, listen: "127.0.0.1:0", bus: "127.0.0.1:0",
		change: change,
	}
	t.Cleanup(func() {
		f.end()
		if t.Failed() {
			t.Logf("the log of the fleet:\n%s", out.String())
		}
	})
	f.StartServer()
	for _, name := range hosts {
		f.drivers[name] = mem.New()
		f.StartHost(name, f.Token())
	}
	for _, name := range hosts {
		f.Await("host "+name+" is ready", func(ctx context.Context, c *client.Client) bool {
			h, err := c.Host(ctx, name)
			return err == nil && h.Status.State == droveway.HostReady
		})
	}
	return f
}

// end stops the roles, and the guests too, which would run on without them.
func (f *Fleet) end() {
	for name := range f.hosts {
		f.StopHost(name)
	}
	f.StopServer()
	for name, driver := range f.drivers {
		records, _ := filepath.Glob(filepath.Join(f.dir, name, "machines", "*.json"))
		for _, path := range records {
			driver.Kill(strings.TrimSuffix(filepath.Base(path), ".json"))
		}
	}
}

// Config is how the server is started.
func (f *Fleet) Config() daemon.ServerConfig {
	cfg := daemon.ServerConfig{Data: filepath.Join(f.dir, "server"), Listen: f.listen, BusListen: f.bus, NBDListen: "127.0.0.1:0", Log: f.log}
	if f.change != nil {
		f.change(&cfg)
	}
	return cfg
}

// HostConfig is how a host is started.
func (f *Fleet) HostConfig(name, token string) daemon.HostConfig {
	cfg := daemon.HostConfig{
		Member: daemon.Member{
			Data: filepath.Join(f.dir, name), Server: "https://" + f.listen, CA: filepath.Join(f.dir, "server", "pki", "ca-cert.pem"),
			Token: token, Name: name, Log: f.log,
		},
		Address: netip.MustParseAddr("127.0.0.1"), Driver: "mem",
	}
	if d := f.drivers[name]; d != nil {
		cfg.Hypervisor = d
	}
	return cfg
}

// StartServer starts the server, the second time where it was the first.
func (f *Fleet) StartServer() {
	f.t.Helper()
	type urls struct{ api, bus string }
	ready := make(chan urls, 1)
	cfg := f.Config()
	cfg.Ready = func(api, bus string) { ready <- urls{api, bus} }
	f.server = start(func(ctx context.Context) error { return daemon.Server(ctx, cfg) })
	select {
	case u := <-ready:
		f.listen, f.bus = f.host(u.api), f.host(u.bus)
	case err := <-f.server.ended:
		f.server.ended <- err
		f.t.Fatalf("the server ended: %v", err)
	case <-time.After(readyTime):
		f.t.Fatal("the server does not become ready")
	}
}

func (f *Fleet) host(text string) string {
	f.t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		f.t.Fatal(err)
	}
	return u.Host
}

// StopServer stops the server and waits until it has ended.
func (f *Fleet) StopServer() {
	f.t.Helper()
	if f.server == nil {
		return
	}
	if err := f.server.stop(); err != nil {
		f.t.Errorf("the server ended with an error: %v", err)
	}
	f.server = nil
}

// StartHost starts a host; a token is needed the first time.
func (f *Fleet) StartHost(name, token string) {
	cfg := f.HostConfig(name, token)
	f.hosts[name] = start(func(ctx context.Context) error { return daemon.Host(ctx, cfg) })
}

// StopHost stops a host; its guests run on.
func (f *Fleet) StopHost(name string) {
	f.t.Helper()
	if err := f.hosts[name].stop(); err != nil {
		f.t.Errorf("host %s ended with an error: %v", name, err)
	}
	delete(f.hosts, name)
}

// Break makes a verb of a host's driver, as "Send", fail, and with nil work
// again.
func (f *Fleet) Break(host, verb string, err error) { f.drivers[host].Fail(verb, err) }

// ContextFile is the file that lets the administrator in.
func (f *Fleet) ContextFile() string { return filepath.Join(f.dir, "server", "admin.json") }

// Client is the administrator's client. The caller closes it.
func (f *Fleet) Client() *client.Client {
	f.t.Helper()
	c, err := client.LoadContext(f.ContextFile())
	if err != nil {
		f.t.Fatal(err)
	}
	api, err := client.New(c)
	if err != nil {
		f.t.Fatal(err)
	}
	return api
}

// Token makes a token with which a host can join.
func (f *Fleet) Token() string {
	f.t.Helper()
	c := f.Client()
	defer c.Close()
	t, err := c.CreateToken(context.Background(), client.TokenRequest{Role: "host"})
	if err != nil {
		f.t.Fatal(err)
	}
	return t.Token
}

// Await waits until something is so.
func (f *Fleet) Await(what string, is func(context.Context, *client.Client) bool) {
	f.t.Helper()
	c := f.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for !is(ctx, c) {
		select {
		case <-ctx.Done():
			f.t.Fatalf("waited %s until %s", readyTime, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Image writes the file of a small raw image and gives its path.
func (f *Fleet) Image() string {
	f.t.Helper()
	disk := make([]byte, 1<<20)
	for i := range disk {
		disk[i] = byte(i >> 12)
	}
	copy(disk[510:], "\x55\xaa") // the mark of a boot sector
	path := filepath.Join(f.dir, "disk.raw")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// lines is a buffer that many may write to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
