// Package netns does things in the network namespace of another process. It
// changes the namespace of threads of its own alone, and needs CAP_SYS_ADMIN for
// any namespace but the one it is in.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
	"golang.org/x/sys/unix"
)

// Of gives the inode number of the network namespace of a process, which names
// the namespace on this machine.
func Of(proc string, pid int) (uint32, error) {
	target, err := os.Readlink(path(proc, pid))
	if err != nil {
		return 0, explain(pid, err)
	}
	number, ok := strings.CutPrefix(target, "net:[")
	n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
	if !ok || err != nil {
		return 0, droveway.Errorf(droveway.Internal, "network namespace of process %d is called %q", pid, target)
	}
	return uint32(n), nil
}

// Inside runs f on a thread that is in the namespace of a process. Sockets that f
// opens stay there; goroutines that f starts do not.
func Inside(proc string, pid int, f func() error) error {
	there, err := os.Open(path(proc, pid))
	if err != nil {
		return explain(pid, err)
	}
	defer there.Close()
	done := make(chan error)
	go func() { done <- onThread(there, f) }()
	return <-done
}

// onThread brings the thread back to where it was, or lets it end with the
// goroutine, which stays locked to it.
func onThread(there *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("find own network namespace: %w", err)
	}
	defer home.Close()
	if same(there, home) {
		runtime.UnlockOSThread()
		return f()
	}
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return droveway.Errorf(droveway.Permission, "enter another network namespace: run the probe as root or give it CAP_SYS_ADMIN: %w", err)
	}
	err = f()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

func same(a, b *os.File) bool {
	ai, aerr := a.Stat()
	bi, berr := b.Stat()
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}

func path(proc string, pid int) string { return proc + "/" + strconv.Itoa(pid) + "/ns/net" }

func explain(pid int, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		return droveway.Errorf(droveway.NotFound, "process %d has ended: %w", pid, err)
	case errors.Is(err, fs.ErrPermission):
		return droveway.Errorf(droveway.Permission, "network namespace of process %d: run the probe as root or give it CAP_SYS_PTRACE: %w", pid, err)
	}
	return fmt.Errorf("network namespace of process %d: %w", pid, err)
}
