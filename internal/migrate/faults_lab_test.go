//go:build lab

package migrate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// The fault matrix: at each step of a move each accident. Whatever happens, the
// machine runs in the end, exactly once, where the fleet says, with every
// acknowledged record, and nothing of the move is left. That the guest finds its
// records at each boot, and nobody else's, the observer outside sees.
//
// DROVEWAY_FAULTS says how much: empty, what each change has to pass; all,
// everything, with its table in out/faults.json.

var steps = []string{"reserve", "prepare", "memory", "switchover", "hydrate", "prove", "release"}

// accident is something that goes wrong while a move is in a step.
type accident struct {
	name string
	do   func(t *testing.T, g *scene.Guest, from, to string)
	kind kind
}

// kind is how an accident may end.
type kind int

const (
	// nobodyDies: the guest's process is not touched, so it must not boot again.
	nobodyDies kind = iota
	// sourceDies: the guest may boot again if it had not left.
	sourceDies
	// targetDies: the guest may boot again if it had arrived.
	targetDies
)

var accidents = []accident{
	{"server killed", func(t *testing.T, _ *scene.Guest, _, _ string) { restart(t, "server") }, nobodyDies},
	{"source agent killed", func(t *testing.T, _ *scene.Guest, from, _ string) { restart(t, from) }, nobodyDies},
	{"target agent killed", func(t *testing.T, _ *scene.Guest, _, to string) { restart(t, to) }, nobodyDies},
	{"source instance killed", func(t *testing.T, g *scene.Guest, from, _ string) { kill(t, qemu, from, g.Name) }, sourceDies},
	{"target instance killed", func(t *testing.T, g *scene.Guest, _, to string) { kill(t, qemu, to, g.Name) }, targetDies},
	{"storage daemon killed", func(t *testing.T, g *scene.Guest, from, _ string) { kill(t, daemon, from, g.Name) }, nobodyDies},
	{"link of the source cut for 3 s", func(t *testing.T, _ *scene.Guest, from, _ string) { cut(t, from, 3*time.Second) }, nobodyDies},
	{"link of the target cut for 3 s", func(t *testing.T, _ *scene.Guest, _, to string) { cut(t, to, 3*time.Second) }, nobodyDies},
}

func cut(t *testing.T, host string, d time.Duration) {
	check(t, stage.Lab.CutLink(host))
	time.Sleep(d)
	check(t, stage.Lab.MendLink(host))
}

// outcome is a cell of the matrix.
type outcome struct {
	Step     string `json:"step"`
	Accident string `json:"accident"`
	Job      string `json:"job"`
	Error    string `json:"error,omitempty"`
	Live     string `json:"live"`
	Why      string `json:"why"`
	Boots    int    `json:"boots"` // of this cell
	Lost     uint64 `json:"lost"`
	TookMS   int64  `json:"took_ms"`
	OK       bool   `json:"ok"`
}

// SYSTEMS 6.4, 6.6, 6.7, 6.9
func TestFaults(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "faults"})
	var table []outcome
	for i, step := range steps {
		for k, a := range accidents {
			if os.Getenv("DROVEWAY_FAULTS") != "all" && !ordinary(i, k) {
				continue
			}
			t.Run(step+"/"+a.name, func(t *testing.T) {
				o := cell(t, g, step, a)
				o.OK = !t.Failed()
				table = append(table, o)
			})
		}
	}
	keep(t, table)
	nothingLost(t, g)
}

// ordinary picks cells so that each step and each accident has some.
func ordinary(step, accident int) bool { return (step+accident)%2 == 0 }

func cell(t *testing.T, g *scene.Guest, step string, a accident) (o outcome) {
	works(t, g)
	from := hostOf(t, g)
	to := other(from)
	before := g.Observer.Summary()
	begun := time.Now()
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: to, SyncRate: 64 << 20}, "")
	check(t, err)
	reached(t, j, step)
	a.do(t, g, from, to)
	if j, err = ended(t, j); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	r := result(t, j)
	after := g.Observer.Summary()
	o = outcome{
		Step: step, Accident: a.name, Job: string(j.State), Error: j.Error, Live: r.Live, Why: r.Why,
		Boots: len(after.Boots()) - len(before.Boots()), Lost: after.Rewound() - before.Rewound(), TookMS: time.Since(begun).Milliseconds(),
	}
	mustBeSound(t, g, a, o)
	return o
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
			return now, fmt.Errorf("job %s has not ended: %s in step %s: %s (%w)", j.Name, now.State, now.Step, now.Retry, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func mustBeSound(t *testing.T, g *scene.Guest, a accident, o outcome) {
	t.Helper()
	at := hostOf(t, g)
	if n := len(processes(qemu, at, g.Name)); n != 1 {
		t.Errorf("%d instances on host %s, want one", n, at)
	}
	mustBeGone(t, other(at), g.Name)
	if o.Lost > 0 {
		t.Errorf("%d acknowledged records were not there after a boot", o.Lost)
	}
	if o.Job == string(droveway.JobSucceeded) && o.Live != at || a.kind == nobodyDies && o.Live != at {
		t.Errorf("the job says that host %s is live (%s), and it is %s", o.Live, o.Why, at)
	}
	if o.Boots > 1 || o.Boots > 0 && a.kind == nobodyDies {
		t.Errorf("the guest booted %d times, job %s: %s", o.Boots, o.Job, o.Error)
	}
	t.Logf("job %s, live on %s, boots %d, %d ms: %s", o.Job, at, o.Boots, o.TookMS, o.Error)
}

// keep writes the table.
func keep(t *testing.T, table []outcome) {
	t.Helper()
	dir := filepath.Join("..", "..", "out")
	check(t, os.MkdirAll(dir, 0o755))
	b, err := json.MarshalIndent(table, "", "  ")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "faults.json"), append(b, '\n'), 0o644))
	bad := slices.ContainsFunc(table, func(o outcome) bool { return !o.OK })
	t.Logf("%d cells, all sound: %t", len(table), !bad)
}
