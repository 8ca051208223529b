package service

import (
	"context"
	"path"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/allot"
)

const (
	// contacted is how recently a host must have talked to a destination for it
	// to be offered to the allotter.
	contacted = 30 * time.Minute
	// settle is how long sequence numbers have time to explain what a host talks
	// to: what they explain needs no pattern.
	settle = time.Minute
	// askAgain is when a host whose probe refused a pattern is asked again.
	askAgain = time.Hour
	// orderTime bounds an order: one that comes late is worth nothing.
	orderTime = 3 * time.Second
	// ownName is our own program: that a probe talks to the server is known.
	ownName = "droveway"
)

// Order is what the server tells a probe: one of the two.
type Order struct {
	Emit   *discover.Assignment `json:"emit,omitempty"`
	Cancel string               `json:"cancel,omitempty"` // a pattern
}

// offer tells the allotter what hosts talk to and nothing exact explains.
func (s *Service) offer(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	behind := s.graph.Behind()
	waiting := map[target]time.Time{}
	for f := range s.joiner.Flows() {
		if f.Protocol != "tcp" || now.Sub(f.Last) > contacted || path.Base(f.Service.Executable) == ownName {
			continue
		}
		c := allot.Candidate{
			Host: f.Host, Site: s.sites[f.Host], Service: f.Service, PID: f.PID,
			Destination: f.Dialled, Behind: behind[f.Dialled],
		}
		at := target{f.Host, f.Dialled}
		switch {
		case f.Best == discover.ISN, f.Best == discover.Conntrack:
			s.allotter.Resolved(c)
		case now.Before(s.passive[at]):
		default:
			waiting[at] = earlier(s.waiting[at], now)
			if now.Sub(waiting[at]) >= settle {
				s.allotter.Offer(c, now)
			}
		}
	}
	s.waiting = waiting
	for at, until := range s.passive {
		if now.After(until) {
			delete(s.passive, at)
		}
	}
}

func earlier(known, now time.Time) time.Time {
	if known.IsZero() {
		return now
	}
	return known
}

// order has probes emit the patterns whose turn it is.
func (s *Service) order(ctx context.Context, now time.Time) {
	s.mu.Lock()
	orders := s.allotter.Next(now, s.joiner.Offset)
	for _, o := range orders {
		s.joiner.Expect(o.Expect)
	}
	audit, cancels := s.allotter.Audit(), s.cancels
	s.cancels = nil
	s.mu.Unlock()
	for _, c := range cancels {
		s.sending.Go(func() { s.cancel(ctx, c) })
	}
	for _, o := range orders {
		s.sending.Go(func() { s.send(ctx, o) })
	}
	for _, e := range audit { // last: each is synced to disk, and orders are urgent
		s.record(ctx, e)
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
	err := s.conn.Order(ctx, o.Host, Order{Emit: &o.Assignment})
	if err == nil {
		return
	}
	s.log.Warn("a pattern is not emitted", "host", o.Host, "destination", o.Assignment.Destination.String(), "error", err)
	if droveway.Is(err, droveway.Unavailable) {
		return // it may have arrived: until it is over, it counts
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allotter.Declined(o.Assignment.Pattern, err.Error(), time.Now())
	wait := askAgain
	if droveway.Is(err, droveway.Conflict) {
		wait = settle // another pattern goes there, of a server before this one
	}
	s.passive[target{o.Host, o.Assignment.Destination}] = time.Now().Add(wait)
}

// cancel has a probe stop a pattern. If the order does not arrive, the pattern
// ends by itself, at the latest when it expires.
func (s *Service) cancel(ctx context.Context, c allot.Cancel) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	if err := s.conn.Order(ctx, c.Host, Order{Cancel: c.Pattern}); err != nil {
		s.log.Warn("a pattern is not called off; it ends by itself", "host", c.Host, "pattern", c.Pattern, "error", err)
	}
}
