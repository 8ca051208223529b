package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/allot"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/fleet"
)

// seen has so many relations seen at a time, each by the addresses of a translator.
func seen(g *graph.Graph, relations int, at time.Time) {
	for i := range relations {
		end := func(side string) discover.Party {
			return discover.Party{Host: fmt.Sprint(side, i%1000), Service: discover.Service{Executable: fmt.Sprint("/usr/bin/", side, i/1000)}}
		}
		g.Apply(discover.Finding{
			Evidence: discover.ISN, Protocol: "tcp", Port: 80, First: at, Last: at, Count: 1, Score: 1,
			Client: end("client"), Server: end("server"), ClientPID: 7, ServerPID: 8,
			Dialled: netip.MustParseAddrPort("203.0.113.1:80"), Source: netip.MustParseAddr("10.0.0.1"), Seen: netip.MustParseAddr("198.51.100.1"),
		})
	}
}

func allotter(t testing.TB) *allot.Allotter {
	t.Helper()
	a, err := allot.New(allot.Policy{}, rand.Uint32)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What is new is written soon, and that it was seen again only now and then: until then
// the archive has no copy of it. In the end all is written.
func TestSeenAgainIsWrittenLater(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	f, err := fleet.Open(ctx, bustest.Start(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{archive: newArchive(f.Stores.Relations), graph: graph.New(graph.Config{}), allotter: allotter(t)}
	const relations = batch + 5
	noon := time.Now().UTC()
	for _, step := range []struct {
		after time.Duration // from noon on
		all   bool
		want  time.Duration // from noon to the last sighting that is written
	}{
		{0, false, 0},
		{time.Minute, false, 0},
		{2 * time.Minute, true, 2 * time.Minute},
		{renewEvery, false, 2 * time.Minute},
		{renewEvery + 2*time.Minute, false, renewEvery + 2*time.Minute},
	} {
		seen(s.graph, relations, noon.Add(step.after))
		if err := s.keep(ctx, noon.Add(step.after), step.all); err != nil {
			t.Fatal(err)
		}
		if n := len(s.archive.pending); n > 0 {
			t.Errorf("after %s: %d copies are kept", step.after, n)
		}
		edges, _, err := newArchive(f.Stores.Relations).read(ctx)
		if err != nil || len(edges) != relations {
			t.Fatalf("after %s: %d relations are written: %v", step.after, len(edges), err)
		}
		for _, e := range edges {
			if got := e.Last.Sub(noon); got != step.want {
				t.Fatalf("after %s: a relation was last seen after %s, want %s", step.after, got, step.want)
			}
		}
	}
}

// What could not be written stays pending, and no more is copied for it.
func TestUnwrittenWaits(t *testing.T) {
	t.Parallel()
	f, err := fleet.Open(context.Background(), bustest.Start(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{archive: newArchive(f.Stores.Relations), graph: graph.New(graph.Config{}), allotter: allotter(t)}
	away, cancel := context.WithCancel(context.Background())
	cancel()
	now := time.Now()
	for range 3 {
		seen(s.graph, batch+5, now)
		if err := s.keep(away, now, false); err == nil || len(s.archive.pending) != batch {
			t.Fatalf("%d are pending: %v", len(s.archive.pending), err)
		}
	}
	if err := s.keep(context.Background(), now, false); err != nil {
		t.Fatal(err)
	}
	if edges, _, err := s.archive.read(context.Background()); err != nil || len(edges) != batch+5 {
		t.Errorf("%d relations are written: %v", len(edges), err)
	}
}

// BenchmarkSeenAgain tells how much memory the archive takes for each relation that is
// seen again, which is not written for a while.
func BenchmarkSeenAgain(b *testing.B) {
	const relations = 100_000
	held := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	var each float64
	for b.Loop() {
		a, g, now := newArchive(nil), graph.New(graph.Config{}), time.Now()
		seen(g, relations, now)
		for _, c := range g.Changes(relations, graph.Always) {
			a.edges[c.Edge.ID] = kept{shapeOf(&c.Edge), now}
		}
		s := &Service{archive: a, graph: g, allotter: allotter(b)}
		before := held()
		seen(g, relations, now.Add(time.Minute))
		s.gather(now.Add(time.Minute), false)
		each = (held() - before) / relations
		runtime.KeepAlive(s)
	}
	b.ReportMetric(each, "B/relation")
}
