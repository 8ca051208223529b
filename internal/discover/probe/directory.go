package probe

import (
	"context"
	"sync"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/procfs"
)

const (
	maxKnown = 2 * discover.MaxProcesses
	// trusted is how long a process number surely means the same process: the
	// kernel goes through all others before it uses one again.
	trusted = 10 * time.Second
	// maxLookups is how many executables may wait for their package.
	maxLookups = 256
)

// directory knows the processes that have connections.
type directory struct {
	proc     procfs.Proc
	packages *procfs.Packages
	lookups  chan lookup

	mu    sync.Mutex
	known map[int]*person
}

// person is a process, and when we looked and told.
type person struct {
	discover.Process
	checked  time.Time
	reported time.Time
}

type lookup struct {
	pid     int
	start   uint64
	program procfs.Program
}

func newDirectory(proc procfs.Proc) *directory {
	return &directory{
		proc: proc, packages: procfs.NewPackages(proc),
		lookups: make(chan lookup, maxLookups), known: map[int]*person{},
	}
}

// meet looks at a process while it is there. The name is what the kernel calls
// it, in case it is gone already.
func (d *directory) meet(pid int, name string, now time.Time) {
	if pid <= 0 || d.trusted(pid, now) {
		return
	}
	p, err := d.proc.Process(pid)
	if err != nil {
		if name == "" {
			return
		}
		p = discover.Process{PID: pid, Executable: procfs.Text(name)}
	}
	if d.note(p, now) {
		d.ask(p)
	}
}

// trusted reports whether there is nothing to find out.
func (d *directory) trusted(pid int, now time.Time) bool {
	d.mu.Lock()
	p := d.known[pid]
	fresh := p != nil && now.Sub(p.checked) < trusted
	if p == nil || fresh {
		d.mu.Unlock()
		return fresh
	}
	p.checked = now
	start, executable := p.Start, p.Executable
	d.mu.Unlock()
	again, err := d.proc.Process(pid)
	return err == nil && again.Start == start && again.Executable == executable
}

// note reports whether the process is new.
func (d *directory) note(p discover.Process, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.known[p.PID]
	if old == nil && len(d.known) >= maxKnown {
		return false
	}
	if old != nil && p.Start == 0 {
		return false // gone: what we knew is better than its name
	}
	d.known[p.PID] = &person{Process: p, checked: now}
	return true
}

func (d *directory) ask(p discover.Process) {
	program, ok := d.packages.Program(p.PID, p.Executable)
	if !ok {
		return
	}
	select {
	case d.lookups <- lookup{p.PID, p.Start, program}:
	default: // asked again when the process is met again after a restart of it
	}
}

// run looks packages up, which takes too long for who meets processes.
func (d *directory) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-d.lookups:
			name, version := d.packages.Of(ctx, l.program)
			if name != "" {
				d.belongs(l, name, version)
			}
		}
	}
}

func (d *directory) belongs(l lookup, name, version string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.known[l.pid]; p != nil && p.Start == l.start {
		p.Package, p.Version, p.reported = name, version, time.Time{}
	}
}

// due gives the processes to report, at most so many bytes of them, and whether
// there are more.
func (d *directory) due(most int, now time.Time) (out []discover.Process, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.known {
		if now.Sub(p.reported) < discover.Repeat {
			continue
		}
		if most -= size(p.Process); most < 0 {
			return out, true
		}
		p.reported = now
		out = append(out, p.Process)
	}
	return out, false
}

// size is how many bytes a process takes in a report at most: every character of
// a text may need another one before it.
func size(p discover.Process) int {
	const names = 160 // and numbers
	return names + 2*(len(p.Executable)+len(p.Unit)+len(p.Container)+len(p.Package)+len(p.Version))
}

// sweep forgets processes that have ended and were reported.
func (d *directory) sweep(alive map[int]bool, ended func(pid int)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for pid, p := range d.known {
		if !alive[pid] && !p.reported.IsZero() {
			delete(d.known, pid)
			ended(pid)
		}
	}
}
