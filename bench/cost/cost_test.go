package cost

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	got := Median([]Cost{{3, 30, 1}, {1, 20, 2}, {2, 10, 3}})
	if want := (Cost{2, 20, 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestPlus(t *testing.T) {
	t.Parallel()
	if got, want := (Cost{3, 30, 1}).Plus(Cost{1, 20, 2}), (Cost{3, 50, 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestOf counts what children take, too.
func TestOf(t *testing.T) {
	t.Parallel()
	out, c, err := Of(exec.Command("sh", "-c", "i=0; (while [ $i -lt 20000 ]; do i=$((i+1)); done); echo done"))
	if err != nil || string(out) != "done\n" || c.CPUMS <= 0 || c.WallMS <= 0 || c.PeakMiB <= 0 {
		t.Errorf("%q, %+v, %v", out, c, err)
	}
	if _, _, err := Of(exec.Command("sh", "-c", "echo why >&2; exit 3")); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("%v", err)
	}
}
