package probe

import (
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// clock is how far the clock of a host is ahead in a trial. Namespaces share the
// machine's clock, so reports and orders are what tells of another one.
type clock time.Duration

// by gives a time as the clock shows it. What is not known stays so.
func (c clock) by(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(time.Duration(c))
}

// tell has a report say all its times by the clock. The lists of the report are
// its own.
func (c clock) tell(r *discover.Report) {
	r.Time = c.by(r.Time)
	for i := range r.Connections {
		n := &r.Connections[i]
		n.Opened, n.Closed = c.by(n.Opened), c.by(n.Closed)
	}
	for i := range r.Emitted {
		e := &r.Emitted[i]
		e.Opened, e.Closed = c.by(e.Opened), c.by(e.Closed)
	}
}

// obey reads an assignment, whose times are by the clock.
func (c clock) obey(a discover.Assignment) discover.Assignment {
	a.Start, a.Expires = (-c).by(a.Start), (-c).by(a.Expires)
	return a
}
