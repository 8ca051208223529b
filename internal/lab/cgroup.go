package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const cgroupRoot = "/sys/fs/cgroup"

// groupsOf lists the control groups of a process that bear our name, as
// directories. Version 1 has a hierarchy for each controller, version 2 one for
// all, which is mounted at the root or, beside version 1, at "unified".
func groupsOf(pid int) (dirs []string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil // it has ended
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], "droveway") {
			continue
		}
		controller := strings.TrimPrefix(parts[1], "name=")
		for _, mount := range []string{controller, "unified"} {
			dirs = append(dirs, filepath.Join(cgroupRoot, mount, parts[2]))
		}
	}
	return dirs
}

// removeGroups removes groups, children first, and their parents of our name
// once they are empty.
func removeGroups(dirs []string) error {
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	var failed error
	for _, dir := range slices.Backward(dirs) {
		for ; strings.Contains(dir, "droveway"); dir = filepath.Dir(dir) {
			err := syscall.Rmdir(dir)
			if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENOTEMPTY) {
				break // somebody else's machines are in it
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, fmt.Errorf("remove control group %s: %w", dir, err))
			}
		}
	}
	return failed
}
