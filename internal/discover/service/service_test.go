package service_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/discover/service"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/fleet"
)

// world is a service over a real bus, with probes that the test plays.
type world struct {
	*bustest.Bus
	t     *testing.T
	conn  *bus.Conn
	fleet *fleet.Fleet
	seq   map[string]uint64
}

func newWorld(t *testing.T, hosts ...string) *world {
	t.Helper()
	b := bustest.Start(t)
	w := &world{Bus: b, t: t, conn: b.Conn(t), seq: map[string]uint64{}}
	var err error
	w.fleet, err = fleet.Open(context.Background(), w.conn)
	w.must(err)
	for _, h := range hosts {
		w.must(w.fleet.Probes.Create(context.Background(), h, fleet.Probe{Meta: droveway.Meta{Name: h}, Site: "main"}))
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// run runs a service until it is stopped.
func (w *world) run() (*service.Service, func()) {
	w.t.Helper()
	s, err := service.New(service.Config{Conn: w.conn, Fleet: w.fleet, Log: bustest.Log()})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := func() {
		if cancel == nil {
			return
		}
		cancel()
		cancel = nil
		w.must(<-done)
	}
	w.t.Cleanup(stop)
	return s, stop
}

// report sends a report until somebody takes it.
func (w *world) report(c *bus.Conn, r discover.Report) error {
	w.t.Helper()
	w.seq[r.Host]++
	r.Probe, r.Seq, r.Time, r.Source = "life", w.seq[r.Host], time.Now(), "tp_btf"
	b, err := json.Marshal(r)
	w.must(err)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := c.Report(context.Background(), r.Host, b)
		if !droveway.Is(err, droveway.Unavailable) || time.Now().After(end) {
			return err
		}
	}
}

func connection(host string, d discover.Direction, local, remote string) discover.Report {
	return discover.Report{Host: host, Connections: []discover.Connection{{
		ID: "1", Protocol: "tcp", Direction: d, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
		Opened: time.Now(), PID: 7, ISN: 0x1234567800000001,
	}}, Processes: []discover.Process{{PID: 7, Start: 1, Executable: "/usr/bin/" + string(d)}}}
}

// What both ends of a translated connection report is a relation, which outlives
// the service.
func TestRelation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a", "b", "idle")
	s, stop := w.run()
	a, b, idle := w.Probe(t, "a"), w.Probe(t, "b"), w.Probe(t, "idle")
	w.must(w.report(a, connection("a", discover.Outbound, "10.0.0.2:40000", "203.0.113.2:8080")))
	w.must(w.report(b, connection("b", discover.Inbound, "10.9.0.1:80", "203.0.113.1:61000")))
	for range 2 {
		w.must(w.report(idle, discover.Report{Host: "idle"}))
		w.must(w.report(a, discover.Report{Host: "a"}))
	}
	all := s.List(graph.Filter{})
	if len(all) != 1 || all[0].Client.Host != "a" || all[0].Server.Host != "b" || all[0].Evidence[0].Kind != discover.ISN {
		t.Fatalf("%+v", all)
	}
	if x, err := s.Explain("a", "idle"); err != nil || !x.Absent || !x.Exact {
		t.Errorf("a and idle: %+v, %v", x, err)
	}
	w.must(s.SetGroup(context.Background(), service.Group{Name: "shop", Hosts: []string{"a", "b"}}))
	stop()

	s, _ = w.run()
	w.must(w.report(idle, discover.Report{Host: "idle"})) // it runs
	again := s.List(graph.Filter{})
	if len(again) != 1 || again[0].ID != all[0].ID {
		t.Errorf("after a restart: %+v", again)
	}
	if apps := s.Applications(); len(apps) != 1 || apps[0].Name != "shop" || !apps[0].User {
		t.Errorf("applications after a restart: %+v", apps)
	}
}

// A probe that was removed, one that lies about its name, and one that talks
// nonsense change nothing.
func TestRefusedReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	s, _ := w.run()
	a, stranger := w.Probe(t, "a"), w.Probe(t, "stranger")
	w.must(w.report(a, discover.Report{Host: "a"}))
	if err := w.report(stranger, discover.Report{Host: "stranger"}); !droveway.Is(err, droveway.Permission) {
		t.Errorf("a stranger: %v", err)
	}
	forged, err := json.Marshal(discover.Report{Host: "b", Probe: "p", Seq: 1, Time: time.Now(), Source: "tp_btf"})
	w.must(err)
	if err := a.Report(context.Background(), "a", forged); !droveway.Is(err, droveway.Permission) {
		t.Errorf("about another host: %v", err)
	}
	if err := a.Report(context.Background(), "a", []byte("{")); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("nonsense: %v", err)
	}
	w.must(s.RemoveProbe(context.Background(), "a"))
	if err := w.report(a, discover.Report{Host: "a"}); !droveway.Is(err, droveway.Permission) {
		t.Errorf("after its removal: %v", err)
	}
	if all, err := s.Probes(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, stop := w.run()
	ctx := context.Background()
	if p, err := s.Policy(ctx); err != nil || len(p.Sites) != 0 {
		t.Errorf("%+v, %v: nobody opted in", p, err)
	}
	for _, bad := range []service.Policy{{Sites: []string{"Not a site"}}, {OptOut: []service.OptOut{{Port: 80}}}, {OptOut: []service.OptOut{{Addresses: netip.MustParsePrefix("::ffff:192.0.2.1/128")}}}} {
		if _, err := s.SetPolicy(ctx, bad); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	want := service.Policy{Sites: []string{"main"}, OptOut: []service.OptOut{{Addresses: netip.MustParsePrefix("192.0.2.0/24")}}}
	first, err := s.SetPolicy(ctx, want)
	w.must(err)
	changed := first
	changed.DenyPorts = []uint16{8443}
	_, err = s.SetPolicy(ctx, changed)
	w.must(err)
	first.OptOut = nil
	if _, err := s.SetPolicy(ctx, first); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a change of an old policy undoes a newer one: %v", err)
	}
	stop()
	s, _ = w.run()
	if p, err := s.Policy(ctx); err != nil || len(p.Sites) != 1 || len(p.OptOut) != 1 || len(p.DenyPorts) != 1 {
		t.Errorf("after a restart: %+v, %v", p, err)
	}
}
