//go:build lab

package migrate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// The guest leaves before its memory: the same boot, nothing lost, nothing of its
// memory wrong, though it changes all of it all the time.
func TestInstantMove(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "instant", MemoryMiB: 256, Work: scene.Dirty(64)})
	from := hostOf(t, g)
	to := other(from)
	plan, err := stage.API.PlanMove(t.Context(), g.Name, client.MoveRequest{To: to, Instant: true})
	if err != nil || !strings.Contains(plan.Risk, "boots from its current disks on host "+from) {
		t.Errorf("the plan says of the risk %q (%v)", plan.Risk, err)
	}
	asked := time.Now()
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: to, Instant: true}, "")
	if j, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	seen := g.Client.Between(asked, time.Now())
	works(t, g)
	s := g.Observer.Summary()
	if len(s.Boots()) != 1 || s.Wrong() > 0 || seen.Breaks > 0 {
		t.Errorf("boots %v, wrong %d, session broke %d times: want one, none, none", s.Boots(), s.Wrong(), seen.Breaks)
	}
	r := result(t, j)
	if r.Live != to || !r.Equal || r.Memory == nil || !strings.HasPrefix(r.Memory.Way, "postcopy") || r.Memory.Switch == 0 || strings.Contains(r.Why, "memory follows") {
		t.Errorf("result %+v, memory %+v", r, r.Memory)
	}
	t.Logf("memory %+v", *r.Memory)
	t.Logf("running after %d ms, QEMU's downtime %d ms, the client's longest gap %s", r.RequestToRunning, r.Downtime, seen.LongestGap.Round(time.Millisecond))
	nothingLost(t, g)
}

// If the source's instance dies while memory follows, the memory is lost, and the
// machine boots from its current disks: nothing acknowledged is lost.
func TestInstantMoveLosesItsSource(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "torn", MemoryMiB: 512, Work: scene.Dirty(256)})
	from := hostOf(t, g)
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: other(from), Instant: true}, "")
	check(t, err)
	reached(t, j, "follow")
	kill(t, qemu, from, g.Name)
	if j, err = ended(t, j); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	s := g.Observer.Summary()
	if s.Rewound() > 0 || s.Wrong() > 0 {
		t.Errorf("%d acknowledged records were lost, %d wrong", s.Rewound(), s.Wrong())
	}
	if j.State == droveway.JobFailed && hostOf(t, g) != from {
		t.Errorf("the move failed (%s), and the machine is on %s", j.Error, hostOf(t, g))
	}
	t.Logf("the move %s, boots %d: %s", j.State, len(s.Boots()), j.Error)
	nothingLost(t, g)
}

// A link that breaks for a while as memory follows costs no boot: the guest waits
// for its memory, and goes on.
//
// SYSTEMS 6.6
func TestInstantMoveOverABrokenLink(t *testing.T) {
	const outage = 30 * time.Second
	g := guest(t, scene.GuestConfig{Name: "patient", MemoryMiB: 1024, Work: scene.Dirty(768)})
	from := hostOf(t, g)
	to := other(from)
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: to, Instant: true}, "")
	check(t, err)
	reached(t, j, "follow")
	warned(t, g, from)
	check(t, stage.Lab.CutLink(from))
	time.Sleep(outage)
	if j, err := stage.API.Job(t.Context(), j.Name); err != nil || j.Step != "follow" {
		t.Errorf("the link was cut too late: the move is in step %s (%v)", j.Step, err)
	}
	check(t, stage.Lab.MendLink(from))
	if j, err = ended(t, j); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	s := g.Observer.Summary()
	if j.State != droveway.JobSucceeded || len(s.Boots()) != 1 || s.Wrong() > 0 {
		t.Errorf("the move %s (%s), boots %v, wrong %d: want a success, one, none", j.State, j.Error, s.Boots(), s.Wrong())
	}
	m, err := stage.API.Machine(t.Context(), g.Name)
	check(t, err)
	if m.Status.Host != to || m.Status.Message != "" {
		t.Errorf("the machine is on host %s (%q), want %s, and nothing to say of it", m.Status.Host, m.Status.Message, to)
	}
	nothingLost(t, g)
}

// warned checks that whoever looks at the machine or its job is told what is at
// stake.
func warned(t *testing.T, g *scene.Guest, from string) {
	t.Helper()
	const word = "while memory follows"
	m, err := stage.API.Machine(t.Context(), g.Name)
	check(t, err)
	j, err := stage.API.Job(t.Context(), m.Status.Job)
	check(t, err)
	if why := result(t, j).Why; !strings.Contains(m.Status.Message, word) || !strings.Contains(why, word) || !strings.Contains(why, "host "+from) {
		t.Errorf("the machine says %q and its job %q", m.Status.Message, why)
	}
}

// Memory goes over several connections at once, as it is and compressed, and all of it is
// right, though the guest changes it all the time; if it does so too fast for that, in
// another way.
func TestMoveOverSeveralConnections(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "several", MemoryMiB: 256, Work: scene.Dirty(16)})
	for _, way := range []string{"parallel", "compressed"} {
		j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: other(hostOf(t, g)), Memory: way}, "")
		if j, err = stage.Must(t.Context(), j, err); err != nil {
			t.Fatal(err)
		}
		works(t, g)
		r := result(t, j)
		if r.Memory == nil || r.Memory.Way != way && (r.Memory.Way != "precopy" || !strings.Contains(r.Memory.Why, "connections")) {
			t.Errorf("%s: memory %+v", way, r.Memory)
		}
		t.Logf("%s: memory %+v", way, r.Memory)
	}
	if s := g.Observer.Summary(); len(s.Boots()) != 1 || s.Wrong() > 0 {
		t.Errorf("boots %v, wrong %d", s.Boots(), s.Wrong())
	}
	nothingLost(t, g)
}

// A guest that changes its memory faster than passes over it end leaves before it
// is whole; the job tells how it went.
func TestMoveOfABusyGuest(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "busy", MemoryMiB: 512, Work: scene.Dirty(256)})
	to := other(hostOf(t, g))
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: to}, "")
	if j, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	r := result(t, j)
	if r.Memory == nil || r.Memory.Bytes == 0 || r.Memory.LinkRate == 0 {
		t.Fatalf("the job does not tell of the memory: %s", j.Result)
	}
	if follows := strings.Contains(r.Memory.Way, "postcopy after"); !follows && r.Memory.Passes > 6 || follows && r.Memory.Why == "" {
		t.Errorf("memory %+v", *r.Memory)
	}
	if s := g.Observer.Summary(); len(s.Boots()) != 1 || s.Wrong() > 0 {
		t.Errorf("boots %v, wrong %d", s.Boots(), s.Wrong())
	}
	t.Logf("memory %+v", *r.Memory)
	nothingLost(t, g)
}
