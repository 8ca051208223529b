package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/droveway/droveway"
)

const (
	// endsSoon is how long before its end the authority's end is told, each day.
	endsSoon  = 180 * 24 * time.Hour
	tellEvery = 24 * time.Hour
)

// measureAuthority makes the end of the authority a metric.
func (s *server) measureAuthority() {
	s.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "droveway_authority_end_timestamp_seconds", Help: "When the certificate authority of the fleet ends, and all certificates with it (Unix time).",
	}, func() float64 { return float64(s.authority.Ends().Unix()) }))
}

// watchAuthority says, at the start and each day, that the authority will end, once it
// soon does.
func (s *server) watchAuthority(ctx context.Context) error {
	for {
		wait := time.Until(s.authority.Ends().Add(-endsSoon))
		if wait <= 0 {
			s.tellAuthority(ctx)
			wait = tellEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(wait, tellEvery)):
		}
	}
}

func (s *server) tellAuthority(ctx context.Context) {
	ends := s.authority.Ends().UTC()
	why := fmt.Sprintf("the certificate authority of the fleet ends at %s, and all certificates with it: make another one before (OPERATIONS.md, Certificates)", ends.Format(time.RFC3339))
	s.cfg.Log.Warn(why)
	b, err := json.Marshal(map[string]any{"ends": ends, "reason": why})
	if err == nil {
		err = s.conn.Publish(ctx, droveway.Event{ID: "authority-ends-" + rand.Text(), Type: "authority.ends", Subject: "server", Source: "server", Data: b})
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("no event tells of the end of the certificate authority", "error", err)
	}
}
