package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway"
)

// The descriptors that a process of ours finds open besides the standard ones
// (exec.Cmd.ExtraFiles): its monitor's socket first.
const (
	monitorFD = 3
	nextFD    = 4
)

// monitorSocket makes the socket that a process serves its monitor at. It is made
// here because QEMU (7.2, chardev/char-socket.c) may accept an early connection in
// two threads at once, one of which then waits for ever; on this socket, which
// does not block, it fails instead. The path is there at once, too.
func monitorSocket(dir, name string) (*os.File, error) {
	s, err := bindUnix(dir, name)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "monitor socket in %s: %w", dir, err)
	}
	return s, nil
}

func bindUnix(dir, name string) (*os.File, error) {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := os.NewFile(uintptr(fd), name)
	// A path by way of the directory's descriptor is never too long.
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)})
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // after NewFile, whose Fd would undo it
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// monitorArguments make a process serve its monitor at the socket. The name is
// in them so that strays can be told.
func monitorArguments(name string) string {
	return fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", name, monitorFD)
}
