package service

import (
	"context"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/allot"
)

const (
	// contacted is how recently a host must have talked to a destination for it
	// to be offered to the allotter.
	contacted = 30 * time.Minute
	// askAgain is when a host that refused a pattern is asked again.
	askAgain = time.Hour
	// orderTime bounds an order: one that comes late is worth nothing.
	orderTime = 3 * time.Second
)

// offer tells the allotter what hosts talk to and nothing exact explains.
func (s *Service) offer(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	behind := s.graph.Behind()
	for f := range s.joiner.Flows() {
		if f.Protocol != "tcp" || now.Sub(f.Last) > contacted {
			continue
		}
		c := allot.Candidate{
			Host: f.Host, Site: s.sites[f.Host], Service: f.Service, PID: f.PID,
			Destination: f.Dialled, Behind: behind[f.Dialled],
		}
		switch {
		case f.Best == discover.ISN, f.Best == discover.Conntrack:
			s.allotter.Resolved(c)
		case now.Before(s.passive[target{f.Host, f.Dialled}]):
		default:
			s.allotter.Offer(c, now)
		}
	}
	for at, until := range s.passive {
		if now.After(until) {
			delete(s.passive, at)
		}
	}
}

// order has probes emit the patterns whose turn it is.
func (s *Service) order(ctx context.Context, now time.Time) {
	s.mu.Lock()
	orders := s.allotter.Next(now, s.joiner.Offset)
	for _, o := range orders {
		s.joiner.Expect(o.Expect)
	}
	audit := s.allotter.Audit()
	s.mu.Unlock()
	for _, e := range audit {
		s.record(ctx, e)
	}
	for _, o := range orders {
		s.sending.Go(func() { s.send(ctx, o) })
	}
}

// record keeps the audit: what was opened at somebody's, or stopped, with the
// events of the fleet, everything in the log.
func (s *Service) record(ctx context.Context, e allot.Entry) {
	s.log.Info("pattern", "action", e.Action, "host", e.Host, "service", e.Service.Name(), "destination", e.Destination.String(), "pattern", e.Pattern, "why", e.Why)
	if e.Action != allot.Allotted && e.Action != allot.Cancelled {
		return
	}
	data := map[string]any{"destination": e.Destination, "service": e.Service, "pattern": e.Pattern, "why": e.Why}
	event, err := newEvent("pattern."+string(e.Action), "probe/"+e.Host, data)
	if err == nil {
		err = s.conn.Publish(ctx, event)
	}
	s.note(ctx, err)
}

func (s *Service) send(ctx context.Context, o allot.Order) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	err := s.conn.Order(ctx, o.Host, o.Assignment)
	if err == nil {
		return
	}
	s.log.Warn("a pattern is not emitted", "host", o.Host, "destination", o.Assignment.Destination.String(), "error", err)
	if !droveway.Is(err, droveway.Permission) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive[target{o.Host, o.Assignment.Destination}] = time.Now().Add(askAgain)
}

// cancelled notes a pattern that nobody is to wait for. The probe itself ends it:
// at the first refusal, or at the latest with the pattern, after pattern.Duration.
func (s *Service) cancelled(c allot.Cancel) {
	s.log.Info("pattern cancelled", "host", c.Host, "pattern", c.Pattern)
}
