package job

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	h := history{at: map[string]time.Time{}}
	for i, name := range []string{"c", "a", "d", "b"} {
		h.at[name] = time.Unix(int64(i), 0)
	}
	if got := h.surplus(2); got != nil {
		t.Errorf("%v is surplus before all jobs were seen", got)
	}
	h.complete = true
	if d := cmp.Diff([]string{"c", "a"}, h.surplus(2)); d != "" {
		t.Error(d)
	}
	if got := h.surplus(2); got != nil {
		t.Errorf("then %v, too", got)
	}
	if _, ok := h.at["d"]; !ok || len(h.at) != 2 {
		t.Errorf("left: %v", h.at)
	}
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	var got []time.Duration
	for n := 1; n <= 8; n++ {
		got = append(got, retryDelay(Failures{All: n}))
	}
	if got[0] != 100*time.Millisecond || got[7] != 5*time.Second || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
	if d := retryDelay(Failures{All: 1 << 40}); d != 5*time.Second {
		t.Errorf("much later: %s", d)
	}
	if d := retryDelay(Failures{All: 1 << 40, Refused: 1 << 40}); d != 30*time.Second {
		t.Errorf("much later, of what is refused: %s", d)
	}
}
