package intake

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// lasting is a world that survives its process, with the journal of its only job.
type lasting struct {
	*world
	journal string
	dieIn   string // step before which it says so, and beyond which it does not come
	told    bool
	shop    *workshop
}

func newLasting(t *testing.T, dir, dieIn string) *lasting {
	t.Helper()
	js := startStoreIn(t, filepath.Join(dir, "nats"))
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "all", LimitMarkerTTL: time.Hour})
	must(t, err)
	l := &lasting{world: newWorldOn(t, kv, filepath.Join(dir, "library")), journal: filepath.Join(dir, "journal"), dieIn: dieIn}
	l.shop = l.furnish()
	return l
}

// Save is that of a journal.
func (l *lasting) Save(_ context.Context, rec *job.Record) error {
	if l.told && rec.Job.Step != l.dieIn {
		time.Sleep(time.Hour) // the step is done, and nobody will know
	}
	b, err := json.Marshal(rec)
	if err == nil {
		err = os.WriteFile(l.journal+"~", b, 0o600)
	}
	if err == nil {
		err = os.Rename(l.journal+"~", l.journal)
	}
	if l.dieIn != "" && rec.Job.Step == l.dieIn {
		l.told = true
		fmt.Println("at", l.dieIn)
	}
	return err
}

// do begins the job, or goes on with it, and gives it as it ended.
func (l *lasting) do(t *testing.T, link string) *job.Record {
	t.Helper()
	r := Request{Name: "a", Link: link}
	k := work{l.Intake, args{Name: r.Name, Stage: r.fetched("begun"), Location: r.shown()}}
	rec, err := job.NewRecord(k.steps())
	must(t, err)
	rec.Job.Name = "image-import-1"
	if b, err := os.ReadFile(l.journal); err == nil {
		must(t, json.Unmarshal(b, rec))
	} else {
		l.begin(t, r)
	}
	must(t, job.Execute(t.Context(), rec, k.steps(), job.Env{Journal: l, Log: slog.New(slog.DiscardHandler)}))
	return rec
}

const killedEnv = "DROVEWAY_INTAKE_KILLED" // directory, link and step

// TestToBeKilled is the process that TestKillAtEachStep kills.
func TestToBeKilled(t *testing.T) {
	if what := strings.Fields(os.Getenv(killedEnv)); len(what) == 3 {
		newLasting(t, what[0], what[2]).do(t, what[1])
	}
}

// TestKillAtEachStep kills a process with -9 in a step of its import, or just behind it:
// another brings it to its end, and nothing else is left. SYSTEMS 5.8, 5.10.
func TestKillAtEachStep(t *testing.T) {
	t.Parallel()
	s := sourcetest.New(t, ovaOfTwo(t), sourcetest.Manners{})
	for n, step := range (work{}).steps() {
		t.Run(step.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			killAt(t, dir, s.URL, step.Name, time.Duration(n%3)*30*time.Millisecond)
			l := newLasting(t, dir, "")
			r := result(t, l.do(t, s.URL).Job)
			if len(r.Images) != 2 {
				t.Errorf("images %q", r.Images)
			}
			for _, name := range r.Images {
				l.wantImage(t, name, nil)
			}
			if left := l.left(t); len(left) != 3*2 { // image, description and record of each
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestKillInRepairAndCheck kills a process with -9 in the midst of a repair and of a boot
// check, sooner and later: another repeats it, the image is repaired and was booted, and nothing
// else is left.
func TestKillInRepairAndCheck(t *testing.T) {
	t.Parallel()
	s := sourcetest.New(t, debian(t), sourcetest.Manners{})
	for _, step := range []string{"repair", "verify"} {
		for _, later := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprint(step, "/", later), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				killAt(t, dir, s.URL, step, later)
				l := newLasting(t, dir, "")
				result(t, l.do(t, s.URL).Job)
				l.wantRepaired(t, l.shop)
			})
		}
	}
}

// killAt kills a process a little after its job has begun a step.
func killAt(t *testing.T, dir, link, step string, later time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestToBeKilled$")
	cmd.Env = append(os.Environ(), killedEnv+"="+strings.Join([]string{dir, link, step}, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "at "+step {
	}
	if lines.Text() != "at "+step {
		t.Errorf("it never came to %s", step)
	}
	time.Sleep(later)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}
