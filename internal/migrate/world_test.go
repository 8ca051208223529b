package migrate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/fleet"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/mem"
	"github.com/droveway/droveway/internal/machine"
)

const (
	name     = "web"
	diskSize = 8 << 20
	longest  = 20 * time.Second // for anything to come true
)

// startBus starts a real bus for the test, and connects to it.
func startBus(t *testing.T) *bus.Conn {
	t.Helper()
	ca, err := pki.Open(t.TempDir())
	must(t, err)
	s, err := bus.NewServer(bus.ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", PKI: ca, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	conn, err := s.Connect(t.Context())
	must(t, err)
	t.Cleanup(conn.Close)
	_, err = store.Buckets(t.Context(), conn.JS) // where the hosts report
	must(t, err)
	return conn
}

// world is two hosts with real agents over the driver in memory, and a machine
// that runs on the first.
type world struct {
	t      *testing.T
	conn   *bus.Conn
	fleet  *fleet.Fleet
	hosts  [2]*node
	moves  *Moves
	events events
}

// node is a host of a world.
type node struct {
	t      *testing.T
	conn   *bus.Conn
	name   string
	dir    string
	driver *mem.Driver
	wrap   func(*mem.Driver) hypervisor.Driver // what the agent has instead; nil: the driver
	stop   func()
}

func newWorld(t *testing.T, conn *bus.Conn) *world {
	t.Helper()
	w := &world{t: t, conn: conn, fleet: newFleet(t, conn)}
	for i := range w.hosts {
		w.hosts[i] = newNode(t, conn, fmt.Sprintf("%c-%s", 'a'+i, lower(rand.Text()[:8])))
		must(t, w.fleet.Hosts.Create(t.Context(), w.hosts[i].name, droveway.Host{
			Meta:   droveway.Meta{Name: w.hosts[i].name},
			Status: droveway.HostStatus{State: droveway.HostReady, Address: "127.0.0.1", CPUs: 8, MemoryMiB: 4096, DiskFreeMiB: 4096},
		}))
	}
	w.moves = New(Config{Fleet: w.fleet, Hosts: host.NewClient(conn), Events: &w.events, Log: slog.New(slog.DiscardHandler)})
	w.start()
	return w
}

func lower(s string) string { return string(bytes.ToLower([]byte(s))) }

func newFleet(t *testing.T, conn *bus.Conn) *fleet.Fleet {
	t.Helper()
	kv, err := conn.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: rand.Text(), Storage: jetstream.MemoryStorage})
	must(t, err)
	return &fleet.Fleet{
		Hosts:    store.NewTable[droveway.Host](kv, "host"),
		Machines: store.NewTable[droveway.Machine](kv, "machine"),
		Images:   store.NewTable[droveway.Image](kv, "image"),
		Networks: store.NewTable[droveway.Network](kv, "network"),
	}
}

func newNode(t *testing.T, conn *bus.Conn, name string) *node {
	n := &node{t: t, conn: conn, name: name, dir: t.TempDir(), driver: mem.New()}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// start starts the agent of the host, again after stop.
func (n *node) start() {
	var driver hypervisor.Driver = n.driver
	if n.wrap != nil {
		driver = n.wrap(n.driver)
	}
	a, err := host.New(host.Config{
		Name: n.name, Dir: n.dir, Address: netip.MustParseAddr("127.0.0.1"), Conn: n.conn, Driver: driver, Log: slog.New(slog.DiscardHandler),
	})
	must(n.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(n.t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n.stop = func() { cancel(); <-done }
}

// start makes the machine and lets it run on the first host.
func (w *world) start() {
	w.t.Helper()
	ctx := w.t.Context()
	m := droveway.Machine{
		Meta:   droveway.Meta{Name: name, Created: time.Now()},
		Spec:   droveway.MachineSpec{CPUs: 1, MemoryMiB: 64, Running: true, Disks: []droveway.Disk{{Name: "root", SizeMiB: diskSize >> 20, Format: droveway.Raw}}},
		Status: droveway.MachineStatus{State: droveway.MachineRunning, Host: w.hosts[0].name, Token: 7},
	}
	must(w.t, w.fleet.Machines.Create(ctx, name, m))
	i, err := machine.Instance(ctx, w.fleet, m, 7)
	must(w.t, err)
	w.eventually("the first host serves", func() bool {
		_, err := w.moves.cfg.Hosts.Create(ctx, w.hosts[0].name, i, nil)
		return err == nil
	})
	w.eventually("the second host serves", func() bool {
		_, err := w.moves.cfg.Hosts.Show(ctx, w.hosts[1].name, name)
		return err == nil
	})
	_, err = w.moves.cfg.Hosts.Start(ctx, w.hosts[0].name, i)
	must(w.t, err)
	w.write(0, 1)
}

// write writes a record as the guest.
func (w *world) write(on int, n uint64) {
	w.t.Helper()
	p := make([]byte, 512)
	binary.LittleEndian.PutUint64(p, n)
	must(w.t, w.guest(on).Write("root", int64(n)<<16, p))
}

// guest is the instance on a host, which must be there.
func (w *world) guest(on int) *mem.Instance {
	w.t.Helper()
	g := w.hosts[on].driver.Guest(name)
	if g == nil {
		w.t.Fatalf("no guest on host %s", w.hosts[on].name)
	}
	return g
}

func (w *world) show(on int) host.Observed {
	w.t.Helper()
	o, err := w.moves.cfg.Hosts.Show(w.t.Context(), w.hosts[on].name, name)
	must(w.t, err)
	return o
}

// mustLive checks that the machine is on one host, whole, and nothing of it on
// the other; and that the record says so.
func (w *world) mustLive(on int, records ...uint64) {
	w.t.Helper()
	if o := w.show(on); o.Role != host.RoleHome || o.Instance != hypervisor.Running {
		w.t.Errorf("host %s: role %s, instance %s; want a running machine at home", o.Host, o.Role, o.Instance)
	}
	if o := w.show(1 - on); o.Role != host.RoleNone || o.Instance != hypervisor.Gone {
		w.t.Errorf("host %s: role %s, instance %s; want nothing", o.Host, o.Role, o.Instance)
	}
	w.mustHold(on, records...)
	w.mustBeEmpty(1 - on)
	m, _, err := w.fleet.Machines.Get(w.t.Context(), name)
	must(w.t, err)
	if m.Status.Host != w.hosts[on].name || m.Status.Job != "" {
		w.t.Errorf("record: on host %s, held by job %q; want host %s and no job", m.Status.Host, m.Status.Job, w.hosts[on].name)
	}
}

// mustHold checks the bytes of the disk's file.
func (w *world) mustHold(on int, records ...uint64) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.hosts[on].dir, "volumes", droveway.VolumeName(name, "root")+".raw"))
	must(w.t, err)
	for _, n := range records {
		if got := binary.LittleEndian.Uint64(b[n<<16:]); got != n {
			w.t.Errorf("host %s: record %d is lost", w.hosts[on].name, n)
		}
	}
}

func (w *world) mustBeEmpty(on int) {
	w.t.Helper()
	for _, dir := range []string{"volumes", "instances"} {
		left, err := os.ReadDir(filepath.Join(w.hosts[on].dir, dir))
		if err != nil && !os.IsNotExist(err) {
			w.t.Fatal(err)
		}
		for _, e := range left {
			w.t.Errorf("host %s: %s/%s is left", w.hosts[on].name, dir, e.Name())
		}
	}
}

func (w *world) request() Request { return Request{Machine: name, To: w.hosts[1].name} }

// move runs the steps of a move to its end, as a job of its own.
func (w *world) move(steps []job.Step[state]) *job.Record {
	w.t.Helper()
	return w.moveAsked(steps, nil)
}

// moveAsked is move, with somebody who calls it off.
func (w *world) moveAsked(steps []job.Step[state], asked <-chan int) *job.Record {
	w.t.Helper()
	return w.execute(struct{}{}, steps, asked)
}

// moveWith is move, with the arguments of the job.
func (w *world) moveWith(args any, steps []job.Step[state]) *job.Record {
	w.t.Helper()
	return w.execute(args, steps, nil)
}

func (w *world) execute(args any, steps []job.Step[state], asked <-chan int) *job.Record {
	w.t.Helper()
	rec, err := job.NewRecord(steps)
	must(w.t, err)
	rec.Job.Name, rec.Job.Kind, rec.Job.Subject, rec.Job.Created = "move-1", Kind, "machine/"+name, time.Now()
	rec.Job.Args, err = json.Marshal(args)
	must(w.t, err)
	env := job.Env{Journal: forgetful{}, Asked: asked, Log: slog.New(slog.DiscardHandler), Retry: func(job.Failures) time.Duration { return 10 * time.Millisecond }}
	ctx, cancel := context.WithTimeout(w.t.Context(), longest)
	defer cancel()
	must(w.t, job.Execute(ctx, rec, steps, env))
	return rec
}

// forgetful is a journal of a process that is not killed.
type forgetful struct{}

func (forgetful) Save(context.Context, *job.Record) error { return nil }

func (w *world) result(rec *job.Record) (r Result) {
	w.t.Helper()
	must(w.t, json.Unmarshal(rec.Job.Result, &r))
	return r
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(longest); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %s not yet: %s", longest, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// events keeps what is published.
type events struct {
	mu  sync.Mutex
	all []droveway.Event
}

func (s *events) Publish(_ context.Context, e droveway.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
	return nil
}

// count is how many events of a type were published.
func (s *events) count(kind string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.all {
		if e.Type == kind {
			n++
		}
	}
	return n
}
