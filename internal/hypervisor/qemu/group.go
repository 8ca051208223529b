package qemu

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// hierarchy is where control groups that bound the use of CPUs are made
// (cgroups(7)).
type hierarchy struct {
	version int // 1 or 2; 0: none
	root    string
	why     string // why there is none
}

// period is the time over which a CPU limit is counted, in microseconds.
const period = 100_000

// findHierarchy looks for a place where limits can be set, and tries it.
func findHierarchy() hierarchy {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return hierarchy{why: err.Error()}
	}
	h := parseMounts(mounts)
	if h.version == 0 {
		return hierarchy{why: "no cpu controller is mounted"}
	}
	trial, err := os.MkdirTemp(h.root, "droveway-trial-")
	if err != nil {
		return hierarchy{why: err.Error()}
	}
	defer removeGroup(trial)
	if err := h.create(trial, 100); err != nil {
		return hierarchy{why: err.Error()}
	}
	return h
}

// parseMounts reads proc_pid_mounts(5). A version 1 cpu controller is preferred:
// where there is one, version 2 has none.
func parseMounts(mounts []byte) hierarchy {
	var h hierarchy
	lines := bufio.NewScanner(bytes.NewReader(mounts))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 {
			continue
		}
		switch {
		case f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "cpu"):
			return hierarchy{version: 1, root: f[1]}
		case f[2] == "cgroup2":
			h = hierarchy{version: 2, root: f[1]}
		}
	}
	return h
}

func (h hierarchy) String() string {
	if h.version == 0 {
		return "no: " + h.why
	}
	return fmt.Sprintf("v%d", h.version)
}

// place is the directory of an instance's group. The directory of the instance is
// in its name because hosts of a test share one file system of groups.
func (h hierarchy) place(spec hypervisor.Spec) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(spec.Dir))
	return filepath.Join(h.root, fmt.Sprintf("droveway-%s-%08x", spec.Machine, sum.Sum32()))
}

// create makes a group that may use percent of one CPU.
func (h hierarchy) create(dir string, percent int) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return droveway.Errorf(droveway.Permission, "control group: %w", err)
	}
	quota := percent * period / 100
	files := map[string]string{"cpu.max": fmt.Sprintf("%d %d", quota, period)}
	if h.version == 1 {
		files = map[string]string{"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": strconv.Itoa(quota)}
	}
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
			return droveway.Errorf(droveway.Permission, "control group: %w", err)
		}
	}
	return nil
}

// join moves a process with all its threads into a group.
func join(dir string, pid int) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
	if err != nil {
		return droveway.Errorf(droveway.Permission, "control group: %w", err)
	}
	return nil
}

// removeGroup removes a group whose processes have ended. The kernel takes a
// moment to notice their end.
func removeGroup(dir string) {
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for os.Remove(dir) != nil && ctx.Err() == nil {
		if _, err := os.Stat(dir); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
