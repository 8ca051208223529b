//go:build lab

package migrate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

// accident is something that goes wrong while a job is in a step.
type accident struct {
	name  string
	cause cause
	do    func(*cell)
}

// cause says what an accident is to the guest.
type cause int

const (
	guestSafe  cause = iota // its process is not touched
	linkCut                 // not touched either, but its memory may be on its way
	sourceDies              // it dies if it has not left
	targetDies              // it dies if it has arrived
	targetGone              // the same, and the host does not come back
)

var accidents = []accident{
	{"server killed", guestSafe, func(c *cell) { restart(c.T, "server") }},
	{"source agent killed", guestSafe, func(c *cell) { restart(c.T, c.from) }},
	{"target agent killed", guestSafe, func(c *cell) { restart(c.T, c.to) }},
	{"source instance killed", sourceDies, func(c *cell) { c.kill(qemu, c.from) }},
	{"target instance killed", targetDies, func(c *cell) { c.kill(qemu, c.to) }},
	{"storage daemon killed", guestSafe, func(c *cell) { c.kill(daemon, c.from) }},
	{"source's link cut for 3 s", linkCut, func(c *cell) { c.cut(c.from, 3*time.Second) }},
	{"target's link cut for 3 s", linkCut, func(c *cell) { c.cut(c.to, 3*time.Second) }},
	{"source's link cut for 60 s", linkCut, func(c *cell) { c.cut(c.from, time.Minute) }},
	{"target's link cut for 60 s", linkCut, func(c *cell) { c.cut(c.to, time.Minute) }},
	{"target's disk full", guestSafe, (*cell).fill},
	{"source's disk unreadable", guestSafe, (*cell).spoil},
	{"target's copy damaged", guestSafe, (*cell).damage},
	{"target lost", targetGone, (*cell).lose},
}

// passes reports whether it is over in a moment and lets both instances live.
func (a *accident) passes() bool {
	return strings.HasSuffix(a.name, " agent killed") || a.name == "server killed" || a.name == "storage daemon killed" || strings.HasSuffix(a.name, "cut for 3 s")
}

// never says why an accident cannot happen in a step; empty: it can.
func (a *accident) never(r row) string {
	switch {
	case a.name == "storage daemon killed" && r.step == "reserve":
		return "it is started in the next step"
	case a.name == "storage daemon killed" && r.step == "release":
		return "this step ends it"
	case a.name == "source instance killed" && r.step == "release":
		return "this step ends it"
	case a.name == "source instance killed" && r.step == "verify":
		return "the step before has ended it"
	case a.name == "target's copy damaged" && r.step != "hydrate":
		return "only while the disks follow there is a copy that is still to be compared for certain"
	case a.name == "target lost" && r.step == "release":
		return "the machine is whole there, and nowhere else"
	case a.name == "target lost" && r.step == "prove":
		return "it may be proved by then: nobody else has the machine"
	}
	return ""
}

// kill kills a program of the machine as soon as it is there.
func (c *cell) kill(program, host string) {
	c.Helper()
	within(time.Second, func() bool { return len(processes(program, host, c.g.Name)) > 0 })
	if len(processes(program, host, c.g.Name)) == 0 {
		c.Log("came too late: there was nothing to kill")
	}
	kill(c.T, program, host, c.g.Name)
}

// stallTime is how soon a job that cannot go on has to say so: a request that
// nobody answers ends first.
const stallTime = 45 * time.Second

// cut takes a host off the network. If the guest needs it, it stands meanwhile,
// and the job says that it waits.
func (c *cell) cut(host string, d time.Duration) {
	c.Helper()
	check(c.T, stage.Lab.CutLink(host))
	defer func() { check(c.T, stage.Lab.MendLink(host)) }()
	end := time.Now().Add(d)
	if d > stallTime && c.row.step == "hydrate" {
		why := c.waits(stallTime, "")
		if why == "" {
			c.Errorf("the job says nothing of host %s, which does not answer", host)
		}
		c.mustHaveWarned(host)
		c.Logf("meanwhile the job says: %s", why)
	}
	time.Sleep(time.Until(end))
}

// mustHaveWarned looks for the event that says that the machine waits.
func (c *cell) mustHaveWarned(host string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), stallTime)
	defer cancel()
	if err := c.event(ctx, "machine.waits"); err != nil {
		c.Errorf("no event says that the machine waits for host %s: %v", host, err)
	}
}

var errFound = errors.New("found")

// event waits for an event of a type about the machine.
func (c *cell) event(ctx context.Context, kind string) error {
	err := stage.API.Events(ctx, 1, "machine/"+c.g.Name, func(_ uint64, e droveway.Event) error {
		if e.Type == kind && e.Time.After(c.begun) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return nil
	}
	return err
}

// fill leaves the target no room until the job says so, or is done.
func (c *cell) fill() {
	c.Helper()
	check(c.T, stage.Lab.FillDisk(c.to))
	c.Logf("meanwhile the job says: %s", c.waits(8*time.Second, ""))
	check(c.T, stage.Lab.EmptyDisk(c.to))
}

// spoil makes the source's disks unreadable until the job says so, or is done.
func (c *cell) spoil() {
	c.Helper()
	root := c.g.Disks[0]
	err := stage.Lab.SpoilFile(c.from, stage.Volume(c.from, c.g.Name, root.Name, root.Format))
	if errors.Is(err, os.ErrNotExist) && c.row.step == "release" {
		return // it has been removed
	}
	check(c.T, err)
	c.Logf("meanwhile the job says: %s", c.waits(8*time.Second, ""))
	check(c.T, stage.Lab.HealDisk(c.from))
}

// damage changes a byte of the target's copy that the guest does not use, between
// the boot sector and the first partition, once it has been copied. The proof has to
// find that; then the byte is put right.
func (c *cell) damage() {
	c.Helper()
	const at, copied = 512 << 10, 16 << 20
	if !within(jobTime, func() bool {
		j, err := stage.API.Job(c.Context(), c.job.Name)
		return err == nil && (j.State.Ended() || j.Progress != nil && j.Progress.Done > copied)
	}) {
		c.Fatal("the disk does not follow")
	}
	root := c.g.Disks[0]
	f, err := os.OpenFile(stage.Volume(c.to, c.g.Name, root.Name, root.Format), os.O_RDWR, 0)
	check(c.T, err)
	defer f.Close()
	var right [1]byte
	_, err = f.ReadAt(right[:], at)
	check(c.T, err)
	_, err = f.WriteAt([]byte{^right[0]}, at)
	check(c.T, err)
	if why := c.waits(jobTime, "differ"); why == "" {
		c.Error("the proof did not find that the copies differ")
	}
	_, err = f.WriteAt(right[:], at)
	check(c.T, err)
}

// lose lets the operator say that the target is lost, when only its agent is: the
// instance there lives, and must not be able to write any more. Afterwards a new
// host of its name joins.
func (c *cell) lose() {
	c.Helper()
	check(c.T, stage.Lab.KillHost(c.to))
	c.Cleanup(func() { c.rejoin(c.to) })
	c.late = c.passed()
	if !eventually(func() bool { return stage.API.RemoveHost(c.Context(), c.to, true) == nil }) {
		c.Fatalf("host %s is not taken out of the fleet as lost: %v", c.to, stage.API.RemoveHost(c.Context(), c.to, true))
	}
	var err error
	if c.job, err = ended(c.T, c.job); err != nil {
		c.Fatal(err)
	}
	works(c.T, c.g) // beside the other
	c.rejoin(c.to)
}

// rejoin lets an empty host of a name that was lost join the fleet.
func (c *cell) rejoin(host string) {
	t := c.T
	t.Helper()
	if stage.Lab.Host(host) != 0 {
		return
	}
	kill(t, qemu, host, c.g.Name)
	kill(t, daemon, host, c.g.Name)
	found, err := filepath.Glob(stage.Lab.Dir(host) + "/*")
	check(t, err)
	for _, path := range found {
		if !strings.HasSuffix(path, "/lost+found") {
			check(t, os.RemoveAll(path))
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), bootTime)
	defer cancel()
	check(t, stage.Lab.StartHost(ctx, host))
	if !within(bootTime, func() bool {
		h, err := stage.API.Host(ctx, host)
		return err == nil && h.Status.State == droveway.HostReady
	}) {
		t.Fatalf("host %s does not come back", host)
	}
}
