package droveway

import (
	"context"
	"encoding/json"
	"time"
)

// Event says that something happened. The attributes are named as in CloudEvents
// 1.0; one type serves audit, routes and the console.
type Event struct {
	ID      string          `json:"id"`
	Time    time.Time       `json:"time"`
	Type    string          `json:"type"`    // "machine.running", "job.step", …
	Subject string          `json:"subject"` // "machine/web-1"
	Source  string          `json:"source"`  // "server" or "host/a"
	Data    json.RawMessage `json:"data,omitempty"`
}

// Publisher keeps events for those who follow them; it fills in an ID and a Time that
// are empty. bus.Conn is one.
type Publisher interface {
	Publish(ctx context.Context, e Event) error
}
