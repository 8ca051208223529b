package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/droveway/droveway"
)

// progress shows how far something is: on a terminal in one line that it
// redraws, elsewhere in a line for each change worth one.
type progress struct {
	w       io.Writer
	columns func() int // as of Env
	key     string     // what was shown last, on anything but a terminal
	drawn   bool
}

// tenths is how often a file, say, is told of progress within one step.
const tenths = 10

func (p *progress) job(j droveway.Job) {
	key := fmt.Sprint(jobState(j), j.Step, j.Retry, j.Waits)
	if j.Progress != nil && j.Progress.Total > 0 {
		key += fmt.Sprint(j.Progress.Done * tenths / j.Progress.Total)
	}
	p.show(key, jobLine(j))
}

func (p *progress) show(key, line string) {
	switch {
	case p.columns != nil:
		fmt.Fprintf(p.w, "\r\x1b[K%s", fit(line, p.columns()))
		p.drawn = true
	case key != p.key:
		fmt.Fprintln(p.w, line)
	}
	p.key = key
}

// headParts are the parts of a line that say what is at work: whoever watches a
// narrow terminal knows that, and misses how far it is.
const headParts = 2

// fit shortens a line so that a terminal does not wrap it: what is wrapped cannot be
// redrawn.
func fit(line string, columns int) string {
	if columns <= 0 {
		return line
	}
	for range headParts {
		if _, rest, ok := strings.Cut(line, ", "); ok && utf8.RuneCountInString(line) >= columns {
			line = rest
		}
	}
	if r := []rune(line); len(r) >= columns {
		return string(r[:columns-1])
	}
	return line
}

// end leaves the line that was drawn.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.drawn = false
}

func jobLine(j droveway.Job) string {
	parts := []string{fmt.Sprintf("%s %s: %s", j.Kind, j.Subject, jobState(j))}
	if j.Step != "" && !j.State.Ended() {
		parts = append(parts, fmt.Sprintf("step %d/%d %s", stepNumber(j), len(j.Steps), j.Step))
	}
	if j.Progress != nil && !j.State.Ended() {
		parts = append(parts, progressText(*j.Progress))
	}
	switch {
	case j.State.Ended():
	case j.Waits != "":
		parts = append(parts, "waits: "+j.Waits)
	case j.Retry != "":
		parts = append(parts, "again after: "+j.Retry)
	}
	return strings.Join(parts, ", ")
}

func stepNumber(j droveway.Job) int {
	for i, s := range j.Steps {
		if s == j.Step {
			return i + 1
		}
	}
	return len(j.Done)
}

func progressText(p droveway.Progress) string {
	text := bytesText(p.Done)
	if p.Total > 0 {
		text = fmt.Sprintf("%d%% of %s", int64(float64(p.Done)/float64(p.Total)*100), bytesText(p.Total))
	}
	if p.Rate > 0 {
		text += ", " + bytesText(p.Rate) + "/s"
	}
	if p.Remaining > 0 {
		text += fmt.Sprintf(", %s left", (time.Duration(p.Remaining) * time.Millisecond).Round(time.Second))
	}
	return text
}
