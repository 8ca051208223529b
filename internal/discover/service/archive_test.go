package service

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/fleet"
)

// Relations that come and go take no room of the bucket for ever.
func TestMarksAreRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	conn := bustest.Start(t).Conn(t)
	f, err := fleet.Open(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive(f.Stores.Relations)
	a.marks = maxMarks - 10 // nearly
	var here, gone []graph.Change
	for i := range 12 {
		e := graph.Edge{ID: fmt.Sprint("e", i)}
		here, gone = append(here, graph.Change{Edge: e}), append(gone, graph.Change{Edge: e, Gone: true})
	}
	for _, changes := range [][]graph.Change{here, gone[1:]} {
		a.pending = changes
		if err := a.write(ctx, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := f.Stores.Relations.Status(ctx)
	if err != nil || s.Values() != 1 {
		t.Errorf("%d keys and marks, want the one that is left: %v", s.Values(), err)
	}
	edges, _, err := newArchive(f.Stores.Relations).read(ctx)
	if err != nil || len(edges) != 1 || edges[0].ID != "e0" {
		t.Errorf("%v, %v", edges, err)
	}
}
