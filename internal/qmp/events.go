package qmp

import (
	"encoding/json"
	"time"
)

// Event is something that happened behind the monitor.
type Event struct {
	Name string          // "STOP", "MIGRATION", …
	Data json.RawMessage // depends on Name; may be empty
	Time time.Time       // of the monitor's host
}

// backlog is how many events a subscription keeps for a slow reader.
const backlog = 256

type subscription struct{ ch chan Event }

// Events subscribes to the events that come from now on. The channel is closed
// when the connection ends or cancel is called. A reader that is more than a
// backlog of 256 behind loses the oldest: an event is a hint to ask, not a
// record.
func (c *Client) Events() (events <-chan Event, cancel func()) {
	s := &subscription{ch: make(chan Event, backlog)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil {
		close(s.ch)
		return s.ch, func() {}
	}
	c.subs[s] = struct{}{}
	return s.ch, func() { c.unsubscribe(s) }
}

func (c *Client) unsubscribe(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.subs[s]; ok {
		delete(c.subs, s)
		close(s.ch)
	}
}

func (c *Client) publish(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		s.push(e)
	}
}

// push is called with the lock held, so nobody else sends.
func (s *subscription) push(e Event) {
	for {
		select {
		case s.ch <- e:
			return
		default:
		}
		select {
		case <-s.ch:
		default:
		}
	}
}

func (c *Client) endSubscriptions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		close(s.ch)
	}
	c.subs = nil
}
