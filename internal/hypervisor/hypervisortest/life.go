package hypervisortest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

func probe(t *testing.T, e Env) {
	d := e.New(t)
	c, err := d.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"accelerator", "kvm", d.Name()} {
		if c[key] == "" {
			t.Errorf("nothing is said of %q: %v", key, c)
		}
	}
}

func startAndStop(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	s := h.spec("root", "data")
	h.fill(s)
	i := h.start(s)
	is(t, i, hypervisor.Running)
	last := counting(t, i.Console(), 3)
	twice(t, "stop", func() error { return i.Stop(t.Context(), 0) })
	is(t, i, hypervisor.Gone)
	if _, err := e.New(t).Attach(t.Context(), i.Handle()); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a stopped instance is found: %v", err)
	}
	for _, d := range s.Disks {
		holds(t, e.Content(t, d.Path), last)
	}
	i = h.start(s)
	if next := counting(t, i.Console(), 1); next <= last {
		t.Errorf("after a restart the guest counts %08X, before it had %08X", next, last)
	}
}

// SYSTEMS 1.5: the same start twice makes one guest.
func startAgain(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	i := h.running("root")
	handle, pid := i.Handle(), i.PID()
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	h.driver = e.New(t)
	s := h.spec("root")
	i = h.start(s)
	if i.PID() != pid || string(i.Handle()) != string(handle) {
		t.Errorf("the second start made %s, the first %s", i.Handle(), handle)
	}
	counting(t, i.Console(), 1)
	s.CPUs++
	if _, err := h.driver.Start(t.Context(), s); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("another instance in the same directory: %v", err)
	}
}

func powerDown(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	i := h.running("root")
	begun := time.Now()
	if err := i.Stop(t.Context(), wait); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > wait/2 {
		t.Errorf("the guest was asked to power down, and it took %s", took)
	}
	is(t, i, hypervisor.Gone)
}

func pauseAndResume(t *testing.T, e Env) {
	i := newHost(t, e, "a").running("root")
	twice(t, "pause", func() error { return i.Pause(t.Context()) })
	is(t, i, hypervisor.Paused)
	still(t, i.Console())
	twice(t, "resume", func() error { return i.Resume(t.Context()) })
	is(t, i, hypervisor.Running)
	counting(t, i.Console(), 1)
}

func changeIsTold(t *testing.T, e Env) {
	i := newHost(t, e, "a").running("root")
	for what, do := range map[string]func(){
		"pause": func() {
			if err := i.Pause(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"death": func() { e.Kill(t, i) },
	} {
		changed := i.Changed()
		do()
		select {
		case <-changed:
		case <-time.After(wait):
			t.Errorf("nothing is told of a %s", what)
		}
		if what == "death" {
			break
		}
	}
}

// SYSTEMS 1.4: the guest outlives the agent and is adopted, the same process.
func adopt(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	s := h.spec("root")
	h.fill(s)
	handle := e.Abandon(t, s)
	i, err := h.driver.Attach(t.Context(), handle)
	if err != nil {
		t.Fatal(err)
	}
	h.endLater(i)
	is(t, i, hypervisor.Running)
	counting(t, i.Console(), 3)
	pid := i.PID()
	m := h.again(i)
	if m.PID() != pid {
		t.Errorf("process %d was %d before", m.PID(), pid)
	}
	counting(t, m.Console(), 1)
	c := readConsole(t, m.Console())
	c.gapless(t)
	if c.boots != 1 {
		t.Errorf("the guest has booted %d times", c.boots)
	}
	if err := m.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	is(t, m, hypervisor.Gone)
}

// Whoever starts something may be killed before he keeps its handle.
func sweep(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	if err := h.driver.Sweep(t.Context(), filepath.Join(h.dir, "nothing")); err != nil {
		t.Errorf("where nothing is: %v", err)
	}
	i, other := h.running("root"), h.secondary(anyPort, "b")
	second := h.secondaryIn("lost", anyPort, "b")
	for _, dir := range []string{"instance", "lost"} {
		for range 2 {
			if err := e.New(t).Sweep(t.Context(), filepath.Join(h.dir, dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	is(t, i, hypervisor.Gone)
	eventually(t, "the secondary has ended", func() bool { return !second.Alive(t.Context()) })
	if !other.Alive(t.Context()) {
		t.Error("the secondary of another directory has ended")
	}
	h.start(h.spec("root"))
}

func staleHandle(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	i := h.running("root")
	e.Kill(t, i)
	is(t, i, hypervisor.Gone)
	if _, err := e.New(t).Attach(t.Context(), i.Handle()); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a dead instance is found: %v", err)
	}
	for verb, do := range map[string]func() error{
		"resume": func() error { return i.Resume(t.Context()) },
		"pause":  func() error { return i.Pause(t.Context()) },
		"cancel": func() error { return mover(t, i).Cancel(t.Context()) },
	} {
		if err := do(); !droveway.Is(err, droveway.NotFound) {
			t.Errorf("%s of a dead instance: %v", verb, err)
		}
	}
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Errorf("a dead instance cannot be stopped: %v", err)
	}
	if _, err := h.driver.Attach(t.Context(), hypervisor.Handle(`{}`)); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("no handle at all: %v", err)
	}
}

// SYSTEMS 1.9: what cannot be done leaves no trace.
func failedStart(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	s := h.spec("root")
	h.fill(s)
	bad := s
	bad.Extra = e.Refused
	if _, err := h.driver.Start(t.Context(), bad); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("an unknown option: %v", err)
	}
	left, err := os.ReadDir(s.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("the failed start has left %v (%v)", left, err)
	}
	missing := h.spec("none")
	if _, err := h.driver.Start(t.Context(), missing); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("a disk that is not there: %v", err)
	}
	i := h.start(s)
	counting(t, i.Console(), 1)
}

func diskIsLocked(t *testing.T, e Env) {
	h := newHost(t, e, "a")
	i := h.running("root")
	s := h.spec("root")
	s.Dir = tempDir(t)
	if _, err := h.driver.Start(t.Context(), s); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("two instances with one disk: %v", err)
	}
	counting(t, i.Console(), 1)
}
