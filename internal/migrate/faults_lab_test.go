//go:build lab

package migrate_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// The fault matrix: at each step of a move, of an instant move and of a restart
// each accident. Whatever happens, the machine runs in the end, exactly once,
// where the job says, with every acknowledged record and no error of its disks,
// and nothing of the move is left. That the guest finds its records at each boot,
// and nobody else's, the observer outside sees.
//
// DROVEWAY_FAULTS says how much: empty, what each change has to pass; all,
// everything, with its table in out/faults.json.

// row is a step of one of the jobs.
type row struct {
	job    job
	step   string
	before bool // the guest has not left: after an accident the source goes on
}

func (r row) String() string { return string(r.job) + " " + r.step }

// job is what is under way.
type job string

const (
	move    job = "move"
	instant job = "instant" // a move whose memory follows
	reboot  job = "restart" // on another host
)

var rows = []row{
	{move, "reserve", true},
	{move, "prepare", true},
	{move, "memory", true},
	{move, "switchover", false},
	{move, "hydrate", false},
	{move, "prove", false},
	{move, "release", false},
	{instant, "follow", false},
	{reboot, "reserve", true},
	{reboot, "prepare", true},
	{reboot, "switchover", false},
	{reboot, "verify", false},
}

// guests are the machines of the jobs: both formats, as the disk with the records
// and as another.
var guests = map[job]scene.GuestConfig{
	move:    {Name: "faults", More: []droveway.Disk{{Name: "data", SizeMiB: 16, Format: droveway.QCOW2}}},
	instant: {Name: "faults-instant", MemoryMiB: 256, Work: scene.Dirty(64)},
	reboot: {
		Name: "faults-restart", Format: droveway.QCOW2,
		More: []droveway.Disk{{Name: "data", SizeMiB: 16, Format: droveway.Raw}},
	},
}

func (j job) start(ctx context.Context, machine, to string) (droveway.Job, error) {
	if j == reboot {
		return stage.API.RestartMachine(ctx, machine, client.RestartRequest{To: to, Mode: "reboot", GraceSeconds: 3}, "")
	}
	return stage.API.MoveMachine(ctx, machine, client.MoveRequest{To: to, Instant: j == instant, SyncRate: 64 << 20}, "")
}

// boots is how often the guest boots if nothing goes wrong.
func (j job) boots() int {
	if j == reboot {
		return 1
	}
	return 0
}

// SYSTEMS 6.4, 6.6, 6.7, 6.9, 12.5, 12.6
func TestFaults(t *testing.T) {
	var m matrix
	defer m.print(t)
	for _, j := range []job{move, instant, reboot} {
		t.Run(string(j), func(t *testing.T) {
			g := guest(t, guests[j])
			for _, r := range rows {
				if r.job == j {
					t.Run(r.step, func(t *testing.T) { m.row(t, g, r) })
				}
			}
			nothingLost(t, g)
		})
	}
}

func (m *matrix) row(t *testing.T, g *scene.Guest, r row) {
	for _, a := range accidents {
		if why := a.never(r); why != "" {
			m.leaveOut(r, a, why)
			continue
		}
		if os.Getenv("DROVEWAY_FAULTS") == "all" || sample[r.String()][a.name] {
			t.Run(a.name, func(t *testing.T) { m.cell(t, g, r, a) })
		}
	}
}

// sample is what each change has to pass: each step is in it, and each accident
// but the target's long cut, for its time.
var sample = map[string]map[string]bool{
	"move reserve":       {"target's disk full": true},
	"move prepare":       {"server killed": true},
	"move memory":        {"target instance killed": true},
	"move switchover":    {"source instance killed": true},
	"move hydrate":       {"source's link cut for 60 s": true, "target's copy damaged": true, "target lost": true},
	"move prove":         {"source's disk unreadable": true},
	"move release":       {"target agent killed": true},
	"instant follow":     {"source's link cut for 3 s": true},
	"restart reserve":    {"server killed": true},
	"restart prepare":    {"storage daemon killed": true},
	"restart switchover": {"target's link cut for 3 s": true},
	"restart verify":     {"source agent killed": true},
}

func (m *matrix) cell(t *testing.T, g *scene.Guest, r row, a accident) {
	works(t, g)
	c := &cell{T: t, g: g, row: r, begun: time.Now(), before: g.Observer.Summary()}
	c.from = hostOf(t, g)
	c.to = other(c.from)
	if !within(time.Minute, func() bool { return ready(t, c.from) && ready(t, c.to) }) {
		t.Fatalf("after the last accident hosts %s and %s are not both ready, with room", c.from, c.to)
	}
	o := outcome{Job: string(r.job), Step: r.step, Accident: a.name}
	defer func() {
		o.OK = !t.Failed()
		m.all = append(m.all, o)
		if !o.OK {
			c.tell()
		}
	}()
	var err error
	c.job, err = r.job.start(t.Context(), g.Name, c.to)
	check(t, err)
	reached(t, c.job, r.step)
	a.do(c)
	if c.job, err = ended(t, c.job); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	o.fill(c)
	c.mustBeSound(a, o)
}

// cell is a job that an accident happens to.
type cell struct {
	*testing.T
	g        *scene.Guest
	row      row
	job      droveway.Job
	from, to string
	begun    time.Time
	before   summary
	late     bool // the accident came when the guest had begun to leave already
}

// tell shows what server and hosts have logged last: it is gone with the lab.
func (c *cell) tell() {
	const most = 60 // lines
	for _, role := range []string{"server", c.from, c.to} {
		b, err := os.ReadFile(stage.Lab.LogFile(role))
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		c.Logf("log of %s (%v):\n%s", role, err, strings.Join(lines[max(0, len(lines)-most):], "\n"))
	}
}

// ready reports whether a host is back, and has told of the room that it has again.
func ready(t *testing.T, host string) bool {
	h, err := stage.API.Host(t.Context(), host)
	return err == nil && h.Status.State == droveway.HostReady && h.Status.DiskFreeMiB > 0
}

// passed reports whether the job has come to where the guest leaves.
func (c *cell) passed() bool {
	c.Helper()
	now, err := stage.API.Job(c.Context(), c.job.Name)
	check(c.T, err)
	return slices.Contains(now.Done, "memory") || now.Step == "switchover"
}

// waits waits until the job says why it waits, with a word in it, or has ended:
// then it returns nothing. What needs nothing of what has gone wrong goes on without
// a word.
func (c *cell) waits(d time.Duration, word string) (why string) {
	c.Helper()
	within(d, func() bool {
		now, err := stage.API.Job(c.Context(), c.job.Name)
		if err == nil && now.Retry != "" && strings.Contains(now.Retry, word) {
			why = now.Retry
		}
		return why != "" || err == nil && now.State.Ended()
	})
	return why
}

// ended waits for a job whose server may be away.
func ended(t *testing.T, j droveway.Job) (droveway.Job, error) {
	ctx, cancel := context.WithTimeout(t.Context(), jobTime)
	defer cancel()
	for {
		now, err := stage.API.Job(ctx, j.Name)
		if err == nil && now.State.Ended() {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, fmt.Errorf("job %s has not ended: %s in step %s, %+v: %s (%w)", j.Name, now.State, now.Step, now.Progress, now.Retry, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *cell) mustBeSound(a accident, o outcome) {
	c.Helper()
	at := hostOf(c.T, c.g)
	if n := len(processes(qemu, at, c.g.Name)); n != 1 {
		c.Errorf("%d instances on host %s, want one", n, at)
	}
	mustBeGone(c.T, other(at), c.g.Name)
	if o.Lost > 0 || o.Wrong > 0 {
		c.Errorf("%d acknowledged records were not there after a boot; the guest saw %d errors", o.Lost, o.Wrong)
	}
	if o.Live != at || o.Why == "" {
		c.Errorf("the job says that host %q is live (%q), and it is %s", o.Live, o.Why, at)
	}
	if most := c.mostBoots(a, o); o.Boots > most {
		c.Errorf("the guest booted %d times, want %d at most", o.Boots, most)
	}
	failed := o.State == string(droveway.JobFailed)
	if failed && at != c.from {
		c.Errorf("the job failed, and the machine is on %s: want it on %s, which had every record", at, c.from)
	}
	if a.cause == targetGone && !failed {
		c.Errorf("the job %s without its target", o.State)
	}
	c.Logf("job %s, live on %s, boots %d, %d ms: %s", o.State, at, o.Boots, o.TookMS, o.Error)
}

// mostBoots is how often the guest may have booted.
func (c *cell) mostBoots(a accident, o outcome) int {
	most := 0
	if !(c.row.before && o.State == string(droveway.JobFailed)) {
		most = c.row.job.boots()
	}
	torn := c.row.job == instant && a.cause == linkCut // the memory that followed may be lost
	if a.cause == sourceDies || (!c.row.before || c.late) && (a.cause == targetDies || a.cause == targetGone) || torn {
		most++
	}
	return most
}
