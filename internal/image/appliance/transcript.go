package appliance

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/volume"
)

// transcript is what is known of a repair under way.
type transcript struct {
	request Request
	total   int // steps
	begun   int
	result  *Result
	changes int // bytes
	failed  *wire.Failure
	done    bool
}

// ownSteps are those that every repair has beside those of its plan: start, mount,
// unmount.
const ownSteps = 3

// Limits of what is kept of a guest's word.
const (
	maxLog     = 32 << 10  // bytes
	maxChanges = 128 << 10 // bytes of JSON: with the rest of a job's record they have to fit into one message of the bus
)

// follow runs the machine to its end and judges what it said.
func (t *transcript) follow(ctx context.Context, m *machine) (*Result, error) {
	t.begin("start")
	err := m.run(ctx, t.take)
	switch {
	case t.failed != nil: // it may have ended badly after that
		return nil, droveway.Errorf(t.failed.Kind, "step %s: %s", t.failed.Step, t.failed.What)
	case err != nil:
		return nil, droveway.Errorf(droveway.KindOf(err), "step %s: %w", t.step(), err)
	case !t.done:
		return nil, droveway.Errorf(droveway.Internal, "step %s: the appliance ended before its work was done%s", t.step(), m.console)
	}
	if err := m.overlay.Sync(); err != nil {
		return nil, volume.NoRoom(err, t.request.Overlay, 1)
	}
	return t.result, nil
}

func (t *transcript) take(e wire.Event) {
	switch {
	case e.Step != "":
		t.begin(e.Step)
	case e.Said != "":
		t.say(e.Said)
	case e.Change != nil:
		t.change(*e.Change)
	case e.Failed != nil && t.failed == nil:
		if k := e.Failed.Kind; k == "" || k == droveway.Unavailable { // which would say: try again
			e.Failed.Kind = droveway.Internal
		}
		t.failed = e.Failed
	case e.Done:
		t.done = true
	}
}

// change keeps one, as long as there is room for it.
func (t *transcript) change(c Change) {
	b, _ := json.Marshal(c) // plain data always marshals
	if t.changes += len(b); t.changes <= maxChanges {
		t.result.Changes = append(t.result.Changes, c)
	}
}

func (t *transcript) begin(step string) {
	if t.request.Progress != nil {
		t.request.Progress(step, min(t.begun, t.total), t.total)
	}
	t.begun++
}

// step is the name of the one under way, by the count: the appliance's word is not
// needed for that.
func (t *transcript) step() string {
	names := []string{"start", "mount"}
	for _, s := range t.request.Plan.Steps {
		names = append(names, s.Name)
	}
	return append(names, "unmount")[min(max(t.begun-1, 0), len(names))]
}

// say adds to the log, of which the end is kept.
func (t *transcript) say(words ...string) {
	for _, w := range words {
		t.result.Log += strings.TrimRight(w, "\n") + "\n"
	}
	t.result.Log = t.result.Log[max(0, len(t.result.Log)-maxLog):]
}
