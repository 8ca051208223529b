package host

import (
	"os"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// The record of a machine that has left refuses late orders, over restarts, until it is
// old; then it goes. What is still of use stays, however old it is.
func TestDepartedAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	n.runs(5)
	age := func(d time.Duration) {
		t.Helper()
		then := time.Now().Add(-d)
		must(t, os.Chtimes(n.records.path(web), then, then))
	}
	age(10 * leftKeep)
	n.restart() // each agent looks when it starts
	n.is(RoleHome, hypervisor.Running)
	_, err := r.Leave(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	_, err = r.Release(ctx, "a", ref(5))
	must(t, err)
	age(leftKeep - time.Hour)
	n.restart()
	_, err = r.Create(ctx, "a", instance(4), nil)
	refused(t, err, droveway.Conflict, "older than token 5")
	age(leftKeep + time.Hour)
	n.restart()
	eventually(t, "the record is gone", func() bool {
		_, err := os.Stat(n.records.path(web))
		return os.IsNotExist(err)
	})
	_, err = r.Create(ctx, "a", instance(4), nil)
	must(t, err)
	n.is(RoleIdle, hypervisor.Gone)
}

// A creation that was begun and not ended is no machine that has left: its record says
// which disks may be here.
func TestHalfACreationIsRemembered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	m := n.machine(web)
	must(t, n.save(m, func(r *record) { *r = record{Instance: instance(5), Role: RoleNone} }))
	then := time.Now().Add(-10 * leftKeep)
	must(t, os.Chtimes(n.records.path(web), then, then))
	n.dropDeparted(time.Now())
	if _, err := os.Stat(n.records.path(web)); err != nil {
		t.Error(err)
	}
}

func TestSurplus(t *testing.T) {
	t.Parallel()
	now := time.Now()
	many := func(n int, age time.Duration) (all []departed) {
		for range n {
			all = append(all, departed{at: now.Add(-age)})
		}
		return all
	}
	for name, c := range map[string]struct {
		all  []departed
		want int
	}{
		"none":                      {nil, 0},
		"as many as may be":         {many(leftMost, leftLeast), 0},
		"more":                      {many(leftMost+7, leftLeast), 7},
		"more, of just now":         {many(leftMost+7, leftLeast-1), 0},
		"few, but old":              {many(3, leftKeep), 3},
		"old ones among new ones":   {append(many(5, leftLeast), many(3, leftKeep)...), 3},
		"more, some of just now":    {append(many(leftMost, time.Hour), many(7, leftLeast)...), 7},
		"more, fewer that may go":   {append(many(leftMost+7, time.Hour), many(2, leftLeast)...), 2},
		"old ones and more as well": {append(many(leftMost+4, leftLeast), many(3, leftKeep)...), 7},
	} {
		if got := len(surplus(c.all, now)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
