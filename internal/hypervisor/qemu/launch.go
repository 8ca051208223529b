package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// launch is one start of an instance. What it has made it can take away again.
type launch struct {
	driver   *Driver
	platform *platform
	spec     hypervisor.Spec
	group    string
	made     []string // files
	inst     *Instance
	proc     *process
}

// startWithin bounds the time from the start of the process to its first answer.
const startWithin = 30 * time.Second

func (l *launch) run(ctx context.Context) (*Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := l.prepare(); err != nil {
		return nil, err
	}
	from := size(l.path(logName))
	if err := l.spawn(); err != nil {
		return nil, err
	}
	h := handle{Process: l.proc.id, Spec: l.spec, Group: l.group, User: l.driver.cfg.User}
	if err := h.save(); err != nil {
		return nil, err
	}
	l.inst = l.driver.instance(h, l.proc)
	if err := l.inst.begin(ctx); err != nil {
		return nil, l.explain(err, from)
	}
	if l.group != "" {
		if err := join(l.group, l.proc.id.PID); err != nil {
			return nil, err
		}
	}
	return l.inst, nil
}

func (l *launch) path(name string) string { return filepath.Join(l.spec.Dir, name) }

// prepare makes files and the group, and gives the account what it needs.
func (l *launch) prepare() error {
	for _, name := range []string{logName, consoleName} {
		if err := l.touch(l.path(name)); err != nil {
			return err
		}
	}
	own := []string{l.spec.Dir, l.path(consoleName)}
	if l.spec.Seed != "" {
		own = append(own, l.spec.Seed)
	}
	for _, d := range l.spec.Disks {
		if _, err := os.Stat(d.Path); err != nil {
			return droveway.Errorf(droveway.NotFound, "disk %s: %w", d.Name, err)
		}
		own = append(own, d.Path)
	}
	if l.spec.Firmware == droveway.UEFI {
		vars := varsOf(l.spec)
		made, err := l.platform.uefi.variables(vars)
		if made {
			l.made = append(l.made, vars)
		}
		if err != nil {
			return err
		}
		own = append(own, vars)
	}
	if err := l.platform.user.own(own...); err != nil {
		return err
	}
	return l.limit()
}

// touch makes a file that is not there yet.
func (l *launch) touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return droveway.Errorf(droveway.Permission, "make %s: %w", path, err)
	}
	l.made = append(l.made, path)
	return f.Close()
}

func (l *launch) limit() error {
	percent := l.spec.Limits.CPUPercent
	if percent <= 0 || l.platform.groups.version == 0 {
		return nil
	}
	l.group = l.platform.groups.place(l.spec)
	return l.platform.groups.create(l.group, percent)
}

func (l *launch) spawn() error {
	socket, err := monitorSocket(l.spec.Dir, monitorName)
	if err != nil {
		return err
	}
	defer socket.Close()
	files := []*os.File{socket}
	for _, n := range l.spec.NICs {
		if !n.Alone {
			files = append(files, n.TAP)
		}
	}
	l.proc, err = spawn(program{
		path: l.driver.cfg.QEMU, dir: l.spec.Dir, log: l.path(logName), files: files, user: l.platform.user, bound: l.spec.Bound,
		args: arguments(l.platform, l.spec, l.driver.ramFor(l.platform, l.spec.MemoryMiB)),
	})
	return err
}

// explain prefers what QEMU said to what became of the connection.
func (l *launch) explain(err error, from int64) error {
	if !l.proc.ended() {
		return err
	}
	return refusal(tail(l.path(logName), from), err)
}

// refusal makes an error of the last words of a program that did not start. One
// that says nothing was killed, by whoever it was: another attempt may succeed.
func refusal(words string, err error) error {
	words = strings.ReplaceAll(strings.TrimSpace(words), "\n", "; ")
	if words == "" {
		return droveway.Errorf(droveway.Unavailable, "it was killed while it started: %w", err)
	}
	kind := droveway.Invalid
	switch {
	case strings.Contains(words, "lock"):
		kind = droveway.Conflict
	case strings.Contains(words, "Permission denied"):
		kind = droveway.Permission
	case strings.Contains(words, "No such file"):
		kind = droveway.NotFound
	case strings.Contains(words, "allocate memory"):
		kind = droveway.Unavailable
	}
	return droveway.Errorf(kind, "QEMU does not start: %s", words)
}

// undo takes away all that a failed start has made.
func (l *launch) undo() {
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	if l.proc != nil {
		if err := l.proc.kill(ctx); err != nil {
			l.driver.log.Error("a process is left of a start that failed", "machine", l.spec.Machine, "pid", l.proc.id.PID, "error", err)
		}
	}
	if l.inst != nil {
		_ = l.inst.Close()
	}
	removeGroup(l.group)
	for _, path := range append(l.made, l.path(monitorName), l.path(handleName)) {
		_ = os.Remove(path)
	}
}

func size(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}
