package client

import (
	"slices"
	"time"
)

// Result is what the client saw in a span of time.
type Result struct {
	Answers    int           `json:"answers"`
	LongestGap time.Duration `json:"longest_gap"` // between two answers, or an end of the span and an answer
	GapBegan   time.Time     `json:"gap_began"`
	Breaks     int           `json:"breaks"` // of the connection
	Cause      string        `json:"cause,omitempty"`
}

// Connected tells whether the guest has answered yet.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answers) > 0
}

// Between tells what the client saw from one time to another. A gap that reaches
// over an end of the span counts as far as it lies in it.
func (c *Client) Between(from, to time.Time) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Result
	for _, b := range c.breaks {
		if !b.Before(from) && !b.After(to) {
			r.Breaks++
			r.Cause = c.cause.Error()
		}
	}
	first, _ := slices.BinarySearchFunc(c.answers, from, time.Time.Compare)
	last := from
	for _, a := range c.answers[first:] {
		if a.After(to) {
			break
		}
		r.Answers++
		r.gap(last, a)
		last = a
	}
	r.gap(last, to)
	return r
}

// Waits gives the times from one answer to the next in a span of time.
func (c *Client) Waits(from, to time.Time) (waits []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, _ := slices.BinarySearchFunc(c.answers, from, time.Time.Compare)
	for i := first + 1; i < len(c.answers) && !c.answers[i].After(to); i++ {
		waits = append(waits, c.answers[i].Sub(c.answers[i-1]))
	}
	return waits
}

func (r *Result) gap(from, to time.Time) {
	if gap := to.Sub(from); gap > r.LongestGap {
		r.LongestGap, r.GapBegan = gap, from
	}
}
