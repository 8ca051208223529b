package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover/allot"
	"github.com/droveway/droveway/internal/discover/graph"
	"github.com/droveway/droveway/internal/engine/store"
)

// archive keeps edges and the results of patterns in the bucket of relations. It
// is used by one goroutine.
//
// An edge that is seen again and again changes all the time, and each write is
// synced to disk. So what is new about an edge is written soon, and that it was
// seen again only now and then: after a crash the time of its last sighting may
// be too early by renewEvery. Until then the edge stays with the graph, which has it
// anyway: a copy of each would take as much again.
type archive struct {
	kv      jetstream.KeyValue
	edges   map[string]kept      // as written
	pending []graph.Change       // to write, at most batch
	results map[string]time.Time // when each changed, as written
	waiting map[string]allot.Result
	marks   int // of deleted keys, about
}

// kept is what was written of an edge.
type kept struct {
	shape shape
	at    time.Time
}

const (
	renewEvery = 10 * time.Minute
	// maxMarks is when the marks that deleted keys leave behind are removed: each
	// takes room of the bucket.
	maxMarks = 1000
	// batch is how many edges are copied at once, to be written.
	batch      = 1000
	edgeKeys   = "edge"
	resultKeys = "pattern"
)

func newArchive(kv jetstream.KeyValue) *archive {
	return &archive{kv: kv, edges: map[string]kept{}, results: map[string]time.Time{}, waiting: map[string]allot.Result{}}
}

func (a *archive) read(ctx context.Context) ([]graph.Edge, []allot.Result, error) {
	edges, err := store.NewTable[graph.Edge](a.kv, edgeKeys).List(ctx)
	if err != nil {
		return nil, nil, err
	}
	results, err := store.NewTable[allot.Result](a.kv, resultKeys).List(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	for _, e := range edges {
		a.edges[e.ID] = kept{shapeOf(&e), now}
	}
	for _, r := range results {
		a.results[resultKey(r)] = r.Changed
	}
	return edges, results, nil
}

// shape is what of an edge is written soon when it changes.
type shape struct {
	state           graph.State
	paths, evidence int
	confidence      float64
}

func shapeOf(e *graph.Edge) shape {
	return shape{e.State, len(e.Paths), len(e.Evidence), e.Confidence}
}

// due reports whether a change of an edge is to be written now.
func (a *archive) due(e *graph.Edge, now time.Time) bool {
	k := a.edges[e.ID]
	return k.shape != shapeOf(e) || now.Sub(k.at) >= renewEvery
}

func resultKey(r allot.Result) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%q", r.Candidate.Host, r.Candidate.Destination, r.Candidate.Service))
	return hex.EncodeToString(sum[:16])
}

// noteResults takes all results that there are.
func (a *archive) noteResults(results []allot.Result) {
	current := make(map[string]bool, len(results))
	for _, r := range results {
		key := resultKey(r)
		current[key] = true
		if !a.results[key].Equal(r.Changed) {
			a.waiting[key] = r
		}
	}
	for key := range a.results {
		if !current[key] {
			a.waiting[key] = allot.Result{} // forgotten
		}
	}
}

// write writes what is pending. What fails stays so.
func (a *archive) write(ctx context.Context, now time.Time) error {
	for i := range a.pending {
		if err := a.writeEdge(ctx, &a.pending[i], now); err != nil {
			a.pending = slices.Delete(a.pending, 0, i)
			return fmt.Errorf("keep a relation: %w", err) // the next would fail too
		}
	}
	a.pending = nil
	var errs []error
	for key, r := range a.waiting {
		if err := a.writeResult(ctx, key, r); err != nil {
			errs = append(errs, fmt.Errorf("keep the result of a pattern: %w", err))
			break
		}
		delete(a.waiting, key)
	}
	if a.marks >= maxMarks {
		errs = append(errs, a.unmark(ctx))
	}
	return errors.Join(errs...)
}

// unmark removes the marks of deleted keys. Nobody watches the bucket, so nobody
// misses them.
func (a *archive) unmark(ctx context.Context) error {
	if err := a.kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)); err != nil {
		return droveway.Errorf(droveway.Unavailable, "remove the marks of relations that are gone: %w", err)
	}
	a.marks = 0
	return nil
}

func (a *archive) writeEdge(ctx context.Context, c *graph.Change, now time.Time) error {
	key := edgeKeys + "." + c.Edge.ID
	if c.Gone {
		delete(a.edges, c.Edge.ID)
		return a.remove(ctx, key)
	}
	if err := a.put(ctx, key, c.Edge); err != nil {
		return err
	}
	a.edges[c.Edge.ID] = kept{shapeOf(&c.Edge), now}
	return nil
}

func (a *archive) writeResult(ctx context.Context, key string, r allot.Result) error {
	if r.Candidate.Host == "" {
		delete(a.results, key)
		return a.remove(ctx, resultKeys+"."+key)
	}
	a.results[key] = r.Changed
	return a.put(ctx, resultKeys+"."+key, r)
}

func (a *archive) put(ctx context.Context, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "encode %s: %w", key, err)
	}
	if _, err := a.kv.Put(ctx, key, b); err != nil {
		return droveway.Errorf(droveway.Unavailable, "write %s: %w", key, err)
	}
	return nil
}

func (a *archive) remove(ctx context.Context, key string) error {
	if err := a.kv.Delete(ctx, key); err != nil {
		return droveway.Errorf(droveway.Unavailable, "delete %s: %w", key, err)
	}
	a.marks++
	return nil
}
