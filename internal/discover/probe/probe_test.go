package probe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

// station is a server that may be away.
type station struct {
	mu   sync.Mutex
	away bool
	got  []discover.Report
}

func (s *station) Send(_ context.Context, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errors.New("away")
	}
	r, err := discover.Decode("host-a", b)
	s.got = append(s.got, r)
	return err
}

func (s *station) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// runFor runs a probe until right or too long.
func runFor(t *testing.T, dir string, s *station, right func() bool) {
	t.Helper()
	p, err := New(Config{Host: "host-a", Dir: dir, Sender: s, Source: SourcePoll, Interval: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-p.Ready()
	for end := time.Now().Add(5 * time.Second); !right(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error("too long")
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Reports wait on disk while the server is away, and outlive the probe: none is
// missing in the end. Needs no privileges.
func TestServerAway(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir, s := t.TempDir(), &station{away: true}
	runFor(t, dir, s, func() bool {
		waiting, err := os.ReadDir(dir + "/reports")
		return err == nil && len(waiting) > 0
	})
	s.set(false)
	runFor(t, dir, s, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.got) > 0 && s.got[len(s.got)-1].Probe != s.got[0].Probe
	})
	at := netip.MustParseAddrPort(ln.Addr().String())
	last, lives, found := map[string]uint64{}, 0, false
	for _, r := range s.got {
		if r.Seq == 1 {
			lives++
		}
		if r.Seq != last[r.Probe]+1 {
			t.Errorf("report %d follows %d", r.Seq, last[r.Probe])
		}
		last[r.Probe] = r.Seq
		for _, l := range r.Listeners {
			found = found || l.Address == at && l.PID == os.Getpid()
		}
	}
	if lives != 2 || !found {
		t.Errorf("%d lives, listener reported: %v", lives, found)
	}
}

// leaky is a source that loses events from the start.
type leaky struct{ silent }

func (leaky) Lost() uint64 { return 5 }

// What a source lost is told once, and not again when it ends.
func TestLossesAreToldOnce(t *testing.T) {
	t.Parallel()
	p, err := New(Config{Host: "host-a", Dir: t.TempDir(), Sender: &station{}, Interval: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.boxes.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.use(ctx, leaky{}) }()
	var lost uint64
	told := func() {
		for _, number := range p.spooled(t) {
			lost += number
		}
	}
	for end := time.Now().Add(10 * time.Second); lost == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		told()
	}
	cancel()
	if err := errors.Join(<-done, p.report(time.Now())); err != nil {
		t.Fatal(err)
	}
	told()
	if lost != 5 {
		t.Errorf("%d lost events are told, of 5", lost)
	}
}

// spooled takes the reports that wait, and gives how many events each lost.
func (p *Probe) spooled(t *testing.T) (lost []uint64) {
	t.Helper()
	for {
		number, b, err := p.spool.Oldest()
		if droveway.Is(err, droveway.NotFound) {
			return lost
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := discover.Decode("host-a", b)
		if err != nil {
			t.Fatal(err)
		}
		lost = append(lost, r.Lost)
		if err := p.spool.Done(number); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{Host: "host-a"}); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
}
