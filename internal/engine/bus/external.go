package bus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// The least version of NATS with a time to live for single keys (ADR-43).
const (
	leastMajor = 2
	leastMinor = 11
)

func (s *Server) runExternal(ctx context.Context) error {
	c, err := s.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer c.Close()
	if err := usable(ctx, c); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(s.ready)
	s.cfg.Log.Info("external bus in use", "address", c.NC.ConnectedUrlRedacted(), "version", c.NC.ConnectedServerVersion())
	<-ctx.Done()
	return nil
}

// usable checks that an external NATS can do what is needed of it. One that
// cannot tell just now, as a cluster without a leader, is asked again.
func usable(ctx context.Context, c *Conn) error {
	if v := c.NC.ConnectedServerVersion(); !recent(v) {
		return droveway.Missing("nats", "the external bus is NATS %s: use %d.%d or later, leases need keys with a time to live", v, leastMajor, leastMinor)
	}
	for attempt := 1; ; attempt++ {
		_, err := c.JS.AccountInfo(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return droveway.Missing("jetstream", "the external bus has no JetStream for this account: enable it there (%v)", err)
		}
		if attempt == 1 {
			c.log.Warn("JetStream of the external bus does not answer; trying on", "error", err)
		}
		select {
		case <-ctx.Done():
			return droveway.Errorf(droveway.Unavailable, "JetStream of the external bus does not answer: %w", err)
		case <-time.After(reconnectDelay(attempt)):
		}
	}
}

func recent(version string) bool {
	part := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(part) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(part[0])
	minor, err2 := strconv.Atoi(part[1])
	if err1 != nil || err2 != nil {
		return false
	}
	return major > leastMajor || major == leastMajor && minor >= leastMinor
}
