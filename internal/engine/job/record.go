package job

import (
	"encoding/json"
	"slices"

	"github.com/droveway/droveway"
)

// Record is what the store keeps of a job.
type Record struct {
	Job     droveway.Job    `json:"job"`               // as the API shows it
	State   json.RawMessage `json:"state,omitempty"`   // what the steps hand to later ones
	Point   string          `json:"point,omitempty"`   // the step that is the point of no return
	Turns   []string        `json:"turns,omitempty"`   // the steps after it that hear a cancel
	Token   uint64          `json:"token,omitempty"`   // of the lease under which it was last written
	Cancels int             `json:"cancels,omitempty"` // that were asked for; tells one that was taken back from the next
	Changes int             `json:"changes"`           // of state and step; numbers the events
}

// NewRecord makes the record of a job that has not begun. Steps that make no
// sense are Internal: they are a defect of the kind.
func NewRecord[S any](steps []Step[S]) (*Record, error) {
	r := &Record{Job: droveway.Job{State: droveway.JobPending, Done: []string{}}}
	for _, s := range steps {
		switch {
		case s.Name == "" || s.Do == nil:
			return nil, droveway.Errorf(droveway.Internal, "step %q has no name or does nothing", s.Name)
		case slices.Contains(r.Job.Steps, s.Name):
			return nil, droveway.Errorf(droveway.Internal, "two steps are called %q", s.Name)
		case s.Point && r.Point != "":
			return nil, droveway.Errorf(droveway.Internal, "steps %q and %q are both the point of no return", r.Point, s.Name)
		}
		r.Job.Steps = append(r.Job.Steps, s.Name)
		if s.Point {
			r.Point = s.Name
		}
		if s.Turns {
			r.Turns = append(r.Turns, s.Name)
		}
	}
	if len(steps) == 0 {
		return nil, droveway.Errorf(droveway.Internal, "a job without steps")
	}
	return r, nil
}

// passed reports whether the point of no return is done.
func (r *Record) passed() bool {
	return r.Point != "" && slices.Contains(r.Job.Done, r.Point)
}

// decided reports whether a cancel would come too late: the point of no return
// has begun, so that it may have acted, and the step under way cannot turn round.
func (r *Record) decided() bool {
	return r.begun() && !slices.Contains(r.Turns, r.Job.Step)
}

// begun reports whether the point of no return has begun.
func (r *Record) begun() bool {
	return r.passed() || r.Point != "" && r.Job.State == droveway.JobRunning && r.Job.Step == r.Point
}

// Cancel asks for an end. A job that has ended, or whose point of no return has
// begun, is Conflict.
func (r *Record) Cancel() error {
	switch {
	case r.Job.State.Ended():
		return droveway.Errorf(droveway.Conflict, "job %s has ended: there is nothing to cancel", r.Job.Name)
	case r.decided():
		return droveway.Errorf(droveway.Conflict, "job %s is past the point of no return: it can only go on", r.Job.Name)
	}
	r.Job.Cancel = true
	r.Cancels++
	return nil
}

// back makes the last finished step the next one to undo; false if there is
// none.
func (r *Record) back() bool {
	n := len(r.Job.Done)
	if n == 0 {
		r.Job.Step = ""
		return false
	}
	r.Job.Step = r.Job.Done[n-1]
	r.Job.Done = r.Job.Done[:n-1]
	return true
}

// fits reports whether the record was made by the same steps, as far as it has
// got. Another version of the program may have other ones.
func (r *Record) fits(names []string) bool {
	at := len(r.Job.Done)
	if at > len(names) || !slices.Equal(r.Job.Done, names[:at]) {
		return false
	}
	return r.Job.Step == "" || at < len(names) && names[at] == r.Job.Step
}
