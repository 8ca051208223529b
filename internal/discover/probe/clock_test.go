package probe

import (
	"reflect"
	"testing"
	"time"

	"github.com/droveway/droveway/internal/discover"
)

// SYSTEMS 3.5: a probe whose clock is off says every time by it, and reads orders
// by it.
func TestClock(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	report := func(off int) discover.Report {
		return discover.Report{
			Time:        at(9 + off),
			Connections: []discover.Connection{{Opened: at(1 + off), Closed: at(2 + off)}, {Opened: at(3 + off)}},
			Emitted:     []discover.Emission{{Opened: at(4 + off), Closed: at(5 + off)}},
		}
	}
	for _, minutes := range []int{-5, 0, 5} {
		c := clock(time.Duration(minutes) * time.Minute)
		r := report(0)
		c.tell(&r)
		if want := report(60 * minutes); !reflect.DeepEqual(want, r) {
			t.Errorf("%d minutes ahead: %+v instead of %+v", minutes, r, want)
		}
		a := c.obey(discover.Assignment{Start: at(60 * minutes), Expires: at(60*minutes + 1)})
		if !a.Start.Equal(at(0)) || !a.Expires.Equal(at(1)) {
			t.Errorf("%d minutes ahead, an order for now is for %s", minutes, a.Start)
		}
	}
}
