//go:build lab

package probe

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// server keeps what it is sent, as the real one reads it.
type server struct {
	t *testing.T

	mu          sync.Mutex
	connections map[string]discover.Connection
	processes   map[int]discover.Process
	listeners   map[netip.AddrPort]int
	emitted     []discover.Emission
	steps       map[discover.Translation]bool
	lost        uint64
	source      string
	changed     chan struct{}
}

func newServer(t *testing.T) *server {
	return &server{
		t: t, connections: map[string]discover.Connection{}, processes: map[int]discover.Process{},
		listeners: map[netip.AddrPort]int{}, steps: map[discover.Translation]bool{}, changed: make(chan struct{}, 1),
	}
}

func (s *server) Send(_ context.Context, b []byte) error {
	r, err := discover.Decode("host-a", b)
	if err != nil {
		s.t.Errorf("the server refuses a report: %v", err)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range r.Connections {
		s.connections[c.ID] = c
	}
	for _, p := range r.Processes {
		s.processes[p.PID] = p
	}
	for _, l := range r.Listeners {
		s.listeners[l.Address] = l.PID
	}
	s.emitted = append(s.emitted, r.Emitted...)
	for _, t := range r.Translations {
		s.steps[t] = true
	}
	s.lost += r.Lost
	s.source = r.Source
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// patience is how long something may take on a busy machine.
const patience = 30 * time.Second

// until waits for what is reported to be right.
func (s *server) until(what string, right func() bool) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		ok := right()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.changed:
		case <-timeout:
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, c := range s.connections {
				s.t.Logf("%+v", c)
			}
			s.t.Fatalf("not seen: %s", what)
		}
	}
}

// ends finds both ends of a connection by its sequence numbers.
func (s *server) ends(truth probetest.Truth) (out, in discover.Connection, ok bool) {
	for _, c := range s.connections {
		if c.Direction == discover.Outbound && c.Local == truth.Local && c.Remote == truth.Dialled && (c.PID == truth.Client || c.PID == 0) {
			out = c
		}
	}
	for _, c := range s.connections {
		if c.Direction == discover.Inbound && c.ISN == out.ISN && c.ISN != 0 {
			in = c
		}
	}
	return out, in, in.ID != ""
}

// begin runs a probe until the test ends.
func begin(t *testing.T, c Config) (*Probe, *server, func()) {
	s := newServer(t)
	c.Host, c.Dir, c.Sender = "host-a", t.TempDir(), s
	c.Interval = 100 * time.Millisecond
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-p.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the probe is not ready")
	}
	return p, s, stop
}

// SYSTEMS 3.1, 3.2, 3.4: the sequence numbers of both ends agree through every kind
// of translation, and name the right processes, with every source, among 200 other
// connections a second.
func TestTranslation(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80", "udp/:53")
	n.Server("b2", "tcp/:80")
	n.Noise(probetest.Forward, probetest.Balanced)
	clients := []*probetest.Client{n.Client("a1"), n.Client("a2"), n.Client("a3"), n.Client("c1"), n.Client("a1")}
	for _, source := range []string{SourceTyped, SourceRaw, SourcePacket} {
		t.Run(source, func(t *testing.T) {
			held := clients[1].Dial("tcp", probetest.Forward, true)
			p, s, _ := begin(t, Config{Source: source})
			if got := p.Choice(); got.Source != source || got.Walker != "" {
				t.Errorf("%+v", got)
			}
			var all []probetest.Truth
			for _, c := range clients {
				for range 2 {
					all = append(all, c.Dial("tcp", probetest.Forward, false), c.Dial("tcp", probetest.Balanced, false))
				}
			}
			s.until("all connections", func() bool {
				for _, truth := range all {
					if out, in, ok := s.ends(truth); !ok || out.Closed.IsZero() || in.Closed.IsZero() {
						return false
					}
				}
				return true
			})
			for _, truth := range all {
				s.check(truth, source)
			}
			s.until("the connection that was open before", func() bool { _, _, ok := s.ends(held); return ok })
			s.check(held, SourceTyped)
			if s.lost != 0 || !strings.HasPrefix(s.source, source) {
				t.Errorf("lost %d, source %s", s.lost, s.source)
			}
			s.pairs()
		})
	}
}

// check compares the processes of a connection with the truth. Packets do not
// tell who opened a short connection, but nothing may be wrong.
func (s *server) check(truth probetest.Truth, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, in, _ := s.ends(truth)
	if out.PID != truth.Client && (source != SourcePacket || out.PID != 0) || in.PID != truth.Server {
		s.t.Errorf("%+v:\nout %+v\nin %+v", truth, out, in)
	}
	for _, pid := range []int{truth.Client, truth.Server} {
		if p := s.processes[pid]; p.Start == 0 && source != SourcePacket {
			s.t.Errorf("process %d is reported as %+v", pid, p)
		}
	}
}

// pairs makes sure that no three ends have the same sequence numbers: nothing
// that was forwarded counts as an end.
func (s *server) pairs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[uint64]int{}
	for _, c := range s.connections {
		if c.ISN != 0 {
			seen[c.ISN]++
		}
	}
	for _, c := range s.connections {
		if seen[c.ISN] > 2 {
			s.t.Errorf("%d ends of one connection, one of them %+v", seen[c.ISN], c)
		}
	}
}
