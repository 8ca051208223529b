package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

func move(step string, p *droveway.Progress) droveway.Job {
	return droveway.Job{
		Kind: "machine-move", Subject: "machine/m", State: droveway.JobRunning, Step: step,
		Steps: []string{"memory", "hydrate"}, Progress: p,
	}
}

var course = []droveway.Job{
	move("memory", nil),
	move("memory", nil),
	move("hydrate", &droveway.Progress{Done: 1 << 20, Total: 100 << 20, Rate: 10 << 20, Remaining: 9900}),
	move("hydrate", &droveway.Progress{Done: 2 << 20, Total: 100 << 20, Rate: 10 << 20, Remaining: 9800}),
	move("hydrate", &droveway.Progress{Done: 55 << 20, Total: 100 << 20, Rate: 10 << 20, Remaining: 4500}),
	{Kind: "machine-move", Subject: "machine/m", State: droveway.JobSucceeded},
}

func show(columns func() int) string {
	var b strings.Builder
	p := &progress{w: &b, columns: columns}
	for _, j := range course {
		p.job(j)
	}
	p.end()
	return b.String()
}

func TestProgressInAFileIsALineForEachChange(t *testing.T) {
	t.Parallel()
	want := `machine-move machine/m: running, step 1/2 memory
machine-move machine/m: running, step 2/2 hydrate, 1% of 100 MiB, 10 MiB/s, 10s left
machine-move machine/m: running, step 2/2 hydrate, 55% of 100 MiB, 10 MiB/s, 5s left
machine-move machine/m: succeeded
`
	if d := cmp.Diff(want, show(nil)); d != "" {
		t.Error(d)
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	t.Parallel()
	got := show(func() int { return 0 })
	if strings.Contains(got, "\n") || strings.Count(got, "\r") != len(course)+1 || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("not one line that is redrawn and cleared: %q", got)
	}
}

// What a terminal wraps cannot be redrawn.
func TestProgressFitsItsTerminal(t *testing.T) {
	t.Parallel()
	const line = "machine-move machine/m: running, step 2/2 hydrate, 55% of 100 MiB, 10 MiB/s, 5s left"
	for columns, want := range map[int]string{
		0:  line,
		90: line,
		80: "step 2/2 hydrate, 55% of 100 MiB, 10 MiB/s, 5s left",
		40: "55% of 100 MiB, 10 MiB/s, 5s left",
		20: "55% of 100 MiB, 10 ",
		1:  "",
	} {
		if got := fit(line, columns); got != want {
			t.Errorf("%d columns: got %q, want %q", columns, got, want)
		}
	}
	if got := show(func() int { return 40 }); strings.Contains(got, "running") || !strings.Contains(got, "55%") {
		t.Errorf("in 40 columns: %q", got)
	}
}

// What a job waits for is shown in place of why it was tried again before.
func TestJobWaits(t *testing.T) {
	t.Parallel()
	j := droveway.Job{Kind: "machine-create", Subject: "machine/web", State: droveway.JobRunning, Step: "fill", Steps: []string{"fill"}, Retry: "no room"}
	for want, j := range map[string]droveway.Job{
		"machine-create machine/web: running, step 1/1 fill, again after: no room":        j,
		"machine-create machine/web: running, step 1/1 fill, waits: source is away":       waiting(j, "source is away"),
		"machine-create machine/web: running, stuck, step 1/1 fill, again after: no room": stuck(j),
	} {
		if got := jobLine(j); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestJobResultIsReadable(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"": "", `"done"`: "done", `{"from":"a","memory":{"passes":4}}`: "from: a\n\tmemory:\n\t  passes: 4",
	} {
		if got := jobResult(droveway.Job{Result: []byte(raw)}); got != want {
			t.Errorf("%s is %q, want %q", raw, got, want)
		}
	}
}

func waiting(j droveway.Job, why string) droveway.Job {
	j.Waits = why
	return j
}

func stuck(j droveway.Job) droveway.Job {
	j.Stuck = time.Now()
	return j
}
