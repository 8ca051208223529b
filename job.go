package droveway

import (
	"encoding/json"
	"time"
)

// JobState is where a job is.
//
//	pending ─▶ running ─▶ succeeded
//	              │
//	              ▼
//	          unwinding ─▶ failed
//
// A job never unwinds once its point of no return is done.
type JobState string

// The states of a job.
const (
	JobPending   JobState = "pending"
	JobRunning   JobState = "running"
	JobUnwinding JobState = "unwinding"
	JobSucceeded JobState = "succeeded"
	JobFailed    JobState = "failed"
)

// Ended reports whether the job will do nothing more.
func (s JobState) Ended() bool { return s == JobSucceeded || s == JobFailed }

// Job is a long operation as the API shows it.
type Job struct {
	Meta
	Kind     string          `json:"kind"`    // "machine-move", …
	Subject  string          `json:"subject"` // the object it works on, as "machine/web-1"
	State    JobState        `json:"state"`
	Step     string          `json:"step,omitempty"`
	Steps    []string        `json:"steps"` // all of them, in order
	Done     []string        `json:"done"`  // the finished ones
	Progress *Progress       `json:"progress,omitempty"`
	Error    string          `json:"error,omitempty"`
	Retry    string          `json:"retry,omitempty"` // why the step is being tried again
	Waits    string          `json:"waits,omitempty"` // why the step comes no further at the moment
	Stuck    time.Time       `json:"stuck,omitzero"`  // since when the step is refused each time: it goes on once somebody has mended what Retry says
	Args     json.RawMessage `json:"args,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"` // what the job found out; its shape belongs to the kind
	Cancel   bool            `json:"cancel,omitempty"` // somebody asked for an end
	Updated  time.Time       `json:"updated"`
	Ended    time.Time       `json:"ended,omitzero"`
}

// Progress is how far a long step is.
type Progress struct {
	Done      int64 `json:"done"`  // bytes
	Total     int64 `json:"total"` // bytes
	Rate      int64 `json:"rate"`  // bytes a second, of late
	Remaining int64 `json:"remaining_ms"`
}
