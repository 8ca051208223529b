package droveway

import (
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
