package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/disk"
	"github.com/vishvananda/netlink"
)

// Down removes the lab of a directory, whole or in parts: processes with the
// guests among them, mounts, namespaces, links, control groups and files. NotFound: there
// was none.
func Down(ctx context.Context, dir string) error {
	if os.Geteuid() != 0 {
		return droveway.Errorf(droveway.Permission, "the lab removes network namespaces and needs root: run it with sudo")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("directory of the lab: %w", err)
	}
	found, err := remove(ctx, dir)
	if err == nil && !found {
		return droveway.Errorf(droveway.NotFound, "there is no lab in %s: name the directory of one with --dir", dir)
	}
	return err
}

// remove reports whether it found anything of a lab.
func remove(ctx context.Context, dir string) (found bool, err error) {
	id := labID(dir)
	if found, err = traces(dir, id); err != nil {
		return found, err
	}
	groups, err := killAll(ctx, id)
	if err != nil {
		return found, err
	}
	if err := disk.Unmount(dir); err != nil { // or the files on them would go one by one
		return found, err
	}
	return found, errors.Join(removeGroups(groups), removeNamespaces(id), removeUplink(id), removeFiles(dir))
}

// traces reports whether anything is there of a lab.
func traces(dir, id string) (bool, error) {
	names, err := namespaces(id)
	if err != nil {
		return false, err
	}
	running, err := processes(id)
	if err != nil {
		return false, err
	}
	_, noLink := netlink.LinkByName(prefix(id))
	_, noPlan := loadPlan(dir)
	return len(names)+len(running) > 0 || noLink == nil || !droveway.Is(noPlan, droveway.NotFound), nil
}

// killAll kills what belongs to the lab until nothing is found, for a process
// may start another while we look, and returns the control groups they were in.
func killAll(ctx context.Context, id string) (groups []string, err error) {
	for {
		found, err := processes(id)
		if err != nil || len(found) == 0 {
			return groups, err
		}
		for _, pid := range found {
			groups = append(groups, groupsOf(pid)...)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return groups, fmt.Errorf("kill process %d of the lab: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return groups, droveway.Errorf(droveway.Unavailable, "processes %v of the lab outlive their kill: %w", found, ctx.Err())
		case <-time.After(pollTime):
		}
	}
}

// processes finds who is in a namespace of the lab, or bears its mark.
func processes(id string) ([]int, error) {
	inodes, err := namespaceInodes(id)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && (inNamespace(pid, inodes) || isMarked(pid, id)) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// namespaceInodes are the numbers that the kernel gave the lab's namespaces.
func namespaceInodes(id string) ([]uint64, error) {
	names, err := namespaces(id)
	if err != nil {
		return nil, err
	}
	var inodes []uint64
	for _, n := range names {
		var s syscall.Stat_t
		if syscall.Stat(namespacePath(n), &s) == nil {
			inodes = append(inodes, s.Ino)
		}
	}
	return inodes, nil
}

func namespaces(id string) ([]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix(id)+"-") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// inNamespace asks about a process that may be gone: then it is in none.
func inNamespace(pid int, inodes []uint64) bool {
	var s syscall.Stat_t
	if syscall.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &s) != nil {
		return false
	}
	return slices.Contains(inodes, s.Ino)
}

func isMarked(pid int, id string) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool {
		return string(v) == labVariable+"="+id
	})
}

func removeNamespaces(id string) error {
	names, err := namespaces(id)
	for _, n := range names {
		err = errors.Join(err, removeNamespace(n))
	}
	return err
}

func removeUplink(id string) error {
	link, err := netlink.LinkByName(prefix(id))
	if _, absent := errors.AsType[netlink.LinkNotFoundError](err); absent {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove uplink %s: %w", prefix(id), err)
	}
	return nil
}

// removeFiles empties the directory if a lab claimed it; the plan goes last, so
// that a kill in between leaves something to go on with.
func removeFiles(dir string) error {
	if _, err := loadPlan(dir); droveway.Is(err, droveway.NotFound) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read directory of the lab: %w", err)
	}
	for _, e := range entries {
		if e.Name() == planFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove files of the lab: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove directory of the lab: %w", err)
	}
	return nil
}
