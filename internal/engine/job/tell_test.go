package job

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
)

// An event calls somebody to a job that is stuck, with the reason.
func TestTellStuck(t *testing.T) {
	t.Parallel()
	var got []droveway.Event
	m := NewManager(ManagerConfig{Publish: func(_ context.Context, e droveway.Event) error {
		got = append(got, e)
		return nil
	}})
	rec := Record{Job: droveway.Job{Subject: "machine/web-1", State: droveway.JobRunning, Step: "stop", Retry: "no room", Stuck: time.Now()}}
	m.tell(t.Context(), rec, slog.New(slog.DiscardHandler))
	if len(got) != 1 || got[0].Type != "job.stuck" || got[0].Subject != "machine/web-1" || !strings.Contains(string(got[0].Data), "no room") {
		t.Errorf("%+v", got)
	}
}
