package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/droveway/droveway"
)

// ticks of a second in proc(5): the kernel's answer to user space is the same
// everywhere.
const ticks = 100

// used is processor time: of the probe's threads, and of its programs in the
// kernel, which runs them in the time of whoever has connections.
type used struct{ process, programs time.Duration }

func use(pid int) (used, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return used{}, fmt.Errorf("processor time of the probe: %w", err)
	}
	process, err := parseTime(text)
	if err != nil {
		return used{}, err
	}
	programs, err := programTime()
	return used{process, programs}, err
}

func parseTime(stat []byte) (time.Duration, error) {
	_, rest, ok := bytes.Cut(stat, []byte(") "))
	f := bytes.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, droveway.Errorf(droveway.Internal, "a process tells no times")
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * time.Second / ticks, errors.Join(err1, err2)
}

// programTime adds up the run time of the probe's programs.
func programTime() (total time.Duration, err error) {
	var id ebpf.ProgramID
	for {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return total, nil
			}
			return total, fmt.Errorf("list the programs in the kernel: %w", err)
		}
		d, err := timeOf(id)
		if err != nil {
			return total, err
		}
		total += d
	}
}

func timeOf(id ebpf.ProgramID) (time.Duration, error) {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // unloaded since it was listed
	}
	if err != nil {
		return 0, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || !strings.HasPrefix(info.Name, "droveway_") {
		return 0, err
	}
	s, err := p.Stats()
	if err != nil {
		return 0, err
	}
	return s.Runtime, nil
}

// residentKiB is how much memory of a process is in use: VmRSS of proc(5).
func residentKiB(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of the probe: %w", err)
	}
	_, rest, ok := bytes.Cut(text, []byte("VmRSS:"))
	f := bytes.Fields(rest)
	if !ok || len(f) < 2 {
		return 0, droveway.Errorf(droveway.Internal, "a process tells no VmRSS")
	}
	return strconv.ParseInt(string(f[0]), 10, 64)
}
