package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/droveway/droveway"
)

// labVariable marks every process of a lab in its environment with the lab's id.
const labVariable = "DROVEWAY_LAB"

// process is a running role. The start time tells it from a later process with
// the same number.
type process struct {
	Role    string `json:"role"`
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // clock ticks after boot, as in proc(5) stat
}

func (p plan) processFile(role string) string { return filepath.Join(p.Dir, "run", role+".json") }

// start runs a role in its namespace, in a session of its own and with no
// descriptor of ours, so that neither holds up the other.
func (p plan) start(role string, env []string, args ...string) (process, error) {
	if old, err := p.find(role); err == nil && old.alive() {
		return process{}, droveway.Errorf(droveway.Conflict, "%s runs already, as process %d", role, old.PID)
	}
	for _, dir := range []string{"logs", "run"} {
		if err := os.MkdirAll(p.path(dir), 0o755); err != nil {
			return process{}, fmt.Errorf("start %s: %w", role, err)
		}
	}
	log, err := os.OpenFile(logFile(p.Dir, role), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, fmt.Errorf("start %s: %w", role, err)
	}
	defer log.Close()
	cmd := exec.Command("nsenter", enter(p.namespace(role), p.Binary, args)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = p.Dir
	cmd.Env = append(append(os.Environ(), labVariable+"="+p.ID), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, fmt.Errorf("start %s: %w", role, err)
	}
	go cmd.Wait() // reaps it; how it ended stands in its log
	return p.note(role, cmd.Process.Pid)
}

func (p plan) note(role string, pid int) (process, error) {
	started, err := startTicks(pid)
	if err != nil {
		return process{}, droveway.Errorf(droveway.Unavailable, "%s ended at once; its log ends with:\n%s", role, tail(logFile(p.Dir, role)))
	}
	proc := process{Role: role, PID: pid, Started: started}
	b, err := json.Marshal(proc)
	if err != nil {
		return process{}, fmt.Errorf("note process of %s: %w", role, err)
	}
	return proc, writeFile(p.processFile(role), b, 0o644)
}

// find is the process of a role, whether it runs or not.
func (p plan) find(role string) (process, error) {
	b, err := os.ReadFile(p.processFile(role))
	if err != nil {
		return process{}, droveway.Errorf(droveway.NotFound, "%s was never started in %s", role, p.Dir)
	}
	var proc process
	if err := json.Unmarshal(b, &proc); err != nil {
		return process{}, droveway.Errorf(droveway.Internal, "%s is damaged: %w", p.processFile(role), err)
	}
	return proc, nil
}

func (p process) alive() bool {
	started, err := startTicks(p.PID)
	return err == nil && started == p.Started
}

// killTime is how long the kernel may take to end a killed process.
const killTime = 10 * time.Second

// kill ends a process without asking and waits until it is gone.
func (p process) kill() error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s, process %d: %w", p.Role, p.PID, err)
	}
	for end := time.Now().Add(killTime); p.alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return droveway.Errorf(droveway.Internal, "%s, process %d, outlives its kill", p.Role, p.PID)
		}
	}
	return nil
}

// startTicks reads when a process started; a process that has ended, but that
// nobody has waited for yet, counts as gone.
func startTicks(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseTicks(pid, b)
}

// parseTicks reads proc_pid_stat(5), of which fields 3 and 22 count.
func parseTicks(pid int, stat []byte) (uint64, error) {
	// The name, field 2, may hold anything but ends with the last parenthesis.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, started = 0, 19
	if len(fields) <= started {
		return 0, fmt.Errorf("process %d: short stat", pid)
	}
	if s := fields[state][0]; s == 'Z' || s == 'X' {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(string(fields[started]), 10, 64)
}

// Server is the number of the server's process, 0 if it does not run.
func (l *Lab) Server() int { return l.pid(serverName) }

// Host is the number of a host's agent process, 0 if it does not run.
func (l *Lab) Host(name string) int { return l.pid(name) }

func (l *Lab) pid(role string) int {
	p, err := l.plan.find(role)
	if err != nil || !p.alive() {
		return 0
	}
	return p.PID
}

// KillServer kills the server as kill -9 does.
func (l *Lab) KillServer() error { return l.kill(serverName) }

// KillHost kills a host's agent as kill -9 does. Its guests run on.
func (l *Lab) KillHost(name string) error { return l.kill(name) }

func (l *Lab) kill(role string) error {
	p, err := l.plan.find(role)
	if err != nil {
		return err
	}
	return p.kill()
}
