package service_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/service"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/store"
)

// A window is as wide as past moves were fast, and hosts are as large as their
// probes say.
func TestWavesInAWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "app", "db")
	s, _ := w.run()
	ctx := context.Background()
	app := connection("app", discover.Outbound, "10.1.0.1:40000", "192.0.2.1:5432")
	db := connection("db", discover.Inbound, "10.2.0.1:5432", "192.0.2.9:40000")
	app.DiskBytes, db.DiskBytes = 600, 500
	w.must(w.report(w.Probe(t, "app"), app))
	if _, err := s.Waves(ctx, service.WaveLimits{Bytes: 1000}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("before all told their size: %v", err)
	}
	w.must(w.report(w.Probe(t, "db"), db))
	if _, err := s.Waves(ctx, service.WaveLimits{Window: time.Minute}); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a window before any move: %v", err)
	}
	w.moved("one", droveway.JobSucceeded, 1000, 100_000)
	w.moved("two", droveway.JobSucceeded, 3000, 100_000)
	w.moved("cut-short", droveway.JobFailed, 1<<40, 1)
	waves, err := s.Waves(ctx, service.WaveLimits{Window: 40 * time.Second}) // at 20 bytes a second
	w.must(err)
	if len(waves) != 2 || !slices.Equal(waves[0].Hosts, []string{"db"}) || waves[0].Seconds != 25 || waves[1].Seconds != 30 {
		t.Errorf("%+v", waves)
	}
	if _, err := s.Waves(ctx, service.WaveLimits{Window: 29 * time.Second}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("a host that is too large for the window: %v", err)
	}
	if waves, err := s.Waves(ctx, service.WaveLimits{Window: time.Minute, Rate: 100}); err != nil || len(waves) != 1 {
		t.Errorf("at another rate: %+v, %v", waves, err)
	}
}

// moved is a move that has ended.
func (w *world) moved(name string, state droveway.JobState, bytes, ms int64) {
	w.t.Helper()
	result, err := json.Marshal(map[string]int64{"sync_bytes": bytes, "sync_ms": ms})
	w.must(err)
	jobs := store.NewTable[job.Record](w.fleet.Stores.Jobs, "job")
	w.must(jobs.Create(context.Background(), name, job.Record{Job: droveway.Job{
		Meta: droveway.Meta{Name: name}, Kind: "machine-move", State: state, Result: result,
	}}))
}
